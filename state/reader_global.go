package state

// This file owns how a global store is read from outside (reader.go). It has one part, which belongs to nobody: it is
// changed as its topic is followed, whoever reads it, and there is no epoch. So a reading is as of one Apply, and
// what is not applied is nobody's but the writer's.

// readKey is for readers from outside. There is nothing that is not committed.
func (s *GlobalStore[K, V]) readKey(k K, _ bool) (v Value[V], err error) {
	s.applying.RLock()
	defer s.applying.RUnlock()
	err = s.db.look(func() (err error) {
		v, err = s.Reader().Get(k)
		return err
	})
	return v, err
}

func (s *GlobalStore[K, V]) encodeKey(k K) ([]byte, error) {
	b, err := s.keySerde.Append([]byte{}, k)
	if err != nil {
		return nil, s.fault("encode key", err)
	}
	return b, nil
}

// snapshotOf is for readers from outside. Pebble has all that was applied.
func (s *GlobalStore[K, V]) snapshotOf(sp span, backward, _, _ bool) (*snapshot, error) {
	s.applying.RLock()
	defer s.applying.RUnlock()
	n := &snapshot{base: &storeBase{task: s.task, name: s.name, id: s.id, memory: s.id == 0}, backward: backward}
	var err error
	if n.base.memory {
		err = s.copyRows(&n.over, sp)
	} else {
		err = s.db.openSnapshot(n)
	}
	if err != nil {
		return nil, s.fault("scan", err)
	}
	return n, nil
}

// copyRows copies the rows in a span of a store in memory.
func (s *GlobalStore[K, V]) copyRows(r *rows, sp span) (err error) {
	s.rows.each(func(row *sharedRow[V]) {
		if err != nil || !row.there || row.key < string(sp.from) || sp.to != nil && row.key >= string(sp.to) {
			return
		}
		arena := r.begin([]byte(row.key), row.timestampMs)
		if !s.live {
			arena = append(arena, row.bytes...)
		} else if arena, err = s.valueSerde.Append(arena, row.value); err != nil {
			return
		}
		r.end(arena, len(row.key))
	})
	return err
}

func (s *GlobalStore[K, V]) decodeRow(n *snapshot, row storedRow) (r Row[K, V], err error) {
	if r.Key, err = s.keySerde.Decode(n.out.copy(row.key)); err != nil {
		return r, s.fault("decode key", err)
	}
	ts, b, err := parseRow(row.value)
	if err == nil {
		r.Timestamp = ts
		r.Value, err = s.valueSerde.Decode(n.out.copy(b))
	}
	if err != nil {
		return r, s.fault("decode value", err)
	}
	return r, nil
}
