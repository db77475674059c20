package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

const (
	firstBackoff = 10 * time.Millisecond
	lastBackoff  = time.Second
)

// backoff waits between attempts, ever longer, and says now and then what is waited for: nothing in this
// package hangs without a word. The zero value but for its logger is ready.
type backoff struct {
	logger *slog.Logger
	began  time.Time
	said   time.Time
	delay  time.Duration
	least  time.Duration // the first delay; 0: firstBackoff
}

// wait waits for the next attempt, or until wake has something. It returns ctx's error if that is done first.
func (b *backoff) wait(ctx context.Context, wake <-chan struct{}, what string, cause error) error {
	now := time.Now()
	if b.began.IsZero() {
		b.began, b.said, b.delay = now, now, b.least
		if b.delay == 0 {
			b.delay = firstBackoff
		}
	}
	if now.Sub(b.said) >= sayEvery {
		b.said = now
		b.logger.Warn("waiting for the cluster", "for", what, "since", now.Sub(b.began).Round(time.Second), "cause", cause)
	}
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	b.delay = min(2*b.delay, lastBackoff)
	select {
	case <-timer.C:
		return nil
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// elapsed is the time since the first wait.
func (b *backoff) elapsed() time.Duration {
	if b.began.IsZero() {
		return 0
	}
	return time.Since(b.began)
}

// retry calls f, a request, until it succeeds, as long as the cluster may come back or says that it will, for
// requestTimeout at most. kgo gives up at once where it can reach no broker.
func (b *Broker) retry(ctx context.Context, what string, f func() error) error {
	for wait := (backoff{logger: b.logger}); ; {
		err := f()
		if err == nil || !passing(err) || wait.elapsed() > requestTimeout {
			return err
		}
		if done := wait.wait(ctx, nil, what, err); done != nil {
			return fmt.Errorf("%w: %w", done, err)
		}
	}
}

// sayWaiting says now and then what is waited for, until done is called.
func (b *Broker) sayWaiting(what string) (done func()) {
	end := make(chan struct{})
	go func() {
		began := time.Now()
		ticker := time.NewTicker(sayEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				b.logger.Warn("waiting for the cluster", "for", what, "since", time.Since(began).Round(time.Second))
			case <-end:
				return
			}
		}
	}()
	return func() { close(end) }
}
