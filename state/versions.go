package state

import "math"

// This file is how versioned stores meet their changelogs. It stands between the store's rows and the task.

func (s *VersionedStore[K, V]) begin(epoch uint64) {
	s.forgetPuts()
	s.timed.begin(epoch)
}

func (s *VersionedStore[K, V]) commit() {
	s.forgetPuts()
	s.timed.commit()
}

func (s *VersionedStore[K, V]) abort() {
	s.forgetPuts()
	s.timed.abort()
}

func (s *VersionedStore[K, V]) forgetPuts() { s.puts, s.arena = s.puts[:0], s.arena[:0] }

func (s *VersionedStore[K, V]) touchedCount() int { return len(s.puts) }

func (s *VersionedStore[K, V]) appendChanges(c Changelog) error {
	var late map[string]int64 // by key: since when its latest is valid
	for _, p := range s.puts {
		key := s.arena[p.start : p.start+p.key]
		var value []byte
		if p.value >= 0 {
			value = s.arena[p.start+p.key : p.start+p.key+p.value : p.start+p.key+p.value]
		}
		if err := c.Append(key, value, p.timestamp); err != nil {
			return err
		}
		if p.late {
			if late == nil {
				late = map[string]int64{}
			}
			late[string(key)] = p.latestFrom
		} else if late != nil {
			delete(late, string(key))
		}
	}
	for _, p := range s.puts {
		key := s.arena[p.start : p.start+p.key]
		from, again := late[string(key)]
		if !again {
			continue
		}
		delete(late, string(key))
		latest, err := s.latest(key)
		if err != nil {
			return err
		}
		var value []byte // none: it may be a tombstone that was forgotten since
		if latest.value != nil && latest.value[0] == present {
			value = latest.value[1:]
		}
		if err := c.Append(key, value, from); err != nil {
			return err
		}
	}
	return nil
}

// restorePut takes a record of the changelog by putting it. Rows go down when there are many of them.
func (s *VersionedStore[K, V]) restorePut(key, value []byte, timestampMs int64) error {
	if err := s.beginPuts(); err != nil {
		return err
	}
	version := noValue
	if value != nil {
		s.value = append(append(s.value[:0], present), value...)
		version = s.value
	}
	latest, err := s.latest(key)
	if err != nil {
		return err
	}
	if latest.value == nil || timestampMs >= latest.from {
		// However old: what was too late is not in the changelog, but a key's latest may be there once more, after
		// the store's time has moved on.
		s.clock.see(timestampMs)
		err = s.insertLatest(key, version, timestampMs, latest)
	} else {
		_, err = s.insert(key, version, timestampMs, latest)
	}
	if err != nil {
		return err
	}
	if s.restoredBytes += len(key) + len(value) + 64; s.restoredBytes < restoreBatchBytes {
		return nil
	}
	return s.finishPuts(nil)
}

// beginPuts lets the store be put to although no epoch is open.
func (s *storeBase) beginPuts() error {
	if s.putting {
		return nil
	}
	if err := s.betweenEpochs("restore"); err != nil {
		return err
	}
	if err := s.task.settle(); err != nil {
		return err
	}
	s.putting, s.restoredBytes = true, 0
	s.task.puttings++
	s.begin(math.MaxUint64 - s.task.puttings) // an epoch that no other has been or will be
	return nil
}

// finishPuts writes what was put, and p with it if it is not nil.
func (s *storeBase) finishPuts(p *Position) error {
	if s.putting {
		s.putting = false
		s.commit()
	}
	if s.memory {
		return nil
	}
	r := &s.restoring
	if err := s.gather(r); err != nil {
		return s.fault("restore", err)
	}
	if err := s.writeRestored(p); err != nil {
		return err
	}
	s.handedOver(s.task.applied)
	s.task.publish()
	s.task.Trim()
	return nil
}
