package state

// Before returns the key's value when the open epoch began, which is that of the last commit; between
// epochs it is that of Get.
func (e Entry[K, V]) Before() (Value[V], error) {
	return e.s.before(e.i)
}

// Before returns the window's value when the open epoch began, which is that of the last commit; between epochs
// it is that of Get.
func (e WindowEntry[K, V]) Before() (Value[V], error) {
	if !e.found {
		return Value[V]{}, nil
	}
	return e.s.before(e.i)
}

// Before returns the session's value when the open epoch began, which is that of the last commit; between epochs
// it is that of Fetch.
func (s *SessionStore[K, V]) Before(k K, startMs, endMs int64) (Value[V], error) {
	i, err := s.place(k, startMs, endMs)
	if err != nil {
		return Value[V]{}, err
	}
	return s.before(i)
}

// before is the entry's value when the open epoch began.
func (s *rowStore[V]) before(i uint32) (Value[V], error) {
	if s.task.epoch == 0 {
		return s.get(i)
	}
	if s.live != nil {
		x := s.live.at(i)
		switch {
		case x.epoch != s.live.epoch:
			return s.get(i)
		case x.flags&committedThere == 0:
			return Value[V]{}, nil
		}
		return Value[V]{x.committed, x.committedTs, true}, nil
	}
	x := s.encoded.at(i)
	switch {
	case x.epoch != s.encoded.epoch:
		return s.get(i)
	case x.flags&committedThere == 0:
		return Value[V]{}, nil
	}
	return s.decode(x.committed, x.committedTs)
}
