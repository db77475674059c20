package engine

import (
	"errors"
)

// StartTasks starts the tasks that are not, for whoever drives the engine step by step: their operators' Init runs.
func (e *Engine) StartTasks() error {
	for _, s := range e.Slots() {
		if err := s.Task.Start(); err != nil {
			return err
		}
	}
	return nil
}

// CloseTasks ends all tasks but those that still run, before the engine is closed: their operators' Close runs.
func (e *Engine) CloseTasks(running func(*Slot) bool) error {
	var errs []error
	for _, s := range e.Slots() {
		if s.Task != nil && !running(s) { // there is none if it could not be opened
			errs = append(errs, s.Task.Close())
		}
	}
	return errors.Join(errs...)
}

// listUnstarted has workers start the tasks that are not. No task runs.
func (r *Runner) listUnstarted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.e.Slots() {
		if !s.Task.Started() {
			r.list(s)
		}
	}
}

// closeTasks ends all tasks, but for those in which a user's function has not returned.
func (r *Runner) closeTasks() error {
	r.mu.Lock()
	running := map[*Slot]bool{}
	for _, s := range r.e.slots {
		running[s] = s.queue.working
	}
	r.mu.Unlock()
	return r.e.CloseTasks(func(s *Slot) bool { return running[s] })
}
