package state

// Before returns the key's value when the open epoch began, which is that of the last commit; between
// epochs it is that of Get.
func (e Entry[K, V]) Before() (Value[V], error) {
	s := e.s
	if s.task.epoch == 0 {
		return e.Get()
	}
	if s.live != nil {
		x := s.live.at(e.i)
		switch {
		case x.epoch != s.live.epoch:
			return e.Get()
		case x.flags&committedThere == 0:
			return Value[V]{}, nil
		}
		return Value[V]{x.committed, x.committedTs, true}, nil
	}
	x := s.encoded.at(e.i)
	switch {
	case x.epoch != s.encoded.epoch:
		return e.Get()
	case x.flags&committedThere == 0:
		return Value[V]{}, nil
	}
	return s.decode(x.committed, x.committedTs)
}
