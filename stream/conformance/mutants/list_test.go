package mutants_test

// mutant is a fault in our code.
type mutant struct {
	name string
	file string // from the repository's root
	old  string // stands there once
	new  string
	// scenarios of which one vector must fail, as a regular expression.
	scenarios string
}

var list = []mutant{
	// Windows.
	{
		name: "a window takes a record at the moment it closes", file: "stream/op_window.go",
		old: "if w.End <= closed {", new: "if w.End < closed {",
		scenarios: "tumbling_.*|hopping_.*",
	},
	{
		name: "windows have no grace", file: "stream/op_window.go",
		old: "closed := o.time - o.grace // windows that end there or before take no more", new: "closed := o.time",
		scenarios: "tumbling_grace_.*|hopping_grace_.*",
	},
	{
		name: "a window's timestamp is the last record's, not the newest's", file: "stream/op_window.go",
		old: "timestamp = max(timestamp, at.Timestamp)", new: "timestamp = r.Timestamp",
		scenarios: "tumbling_.*",
	},
	{
		name: "a record without a key moves a window's time", file: "stream/op_window.go",
		old: "		countDropped(f.t, f.node, nullKey)\n", new: "		f.time = max(f.time, r.Timestamp)\n",
		scenarios: ".*(tumbling|hopping|session|sliding).*",
	},
	{
		name: "windows pass null values over", file: "stream/op_window.go",
		old: "if r.null&o.skips != 0 {", new: "if r.null != 0 {",
		scenarios: "tumbling_.*",
	},
	{
		name: "the last of the windows that a record is in is left out", file: "windows/time.go",
		old: "startMs <= timestampMs-t.advance", new: "startMs < timestampMs-t.advance",
		scenarios: "hopping_.*",
	},
	{
		name: "a sum that becomes null stays", file: "stream/op_window.go",
		old: "	if f.isNil == nil || !f.isNil(a) {\n		c.New", new: "	if true {\n		c.New",
		scenarios: "tumbling_aggregate_returns_null",
	},
	{
		name: "windows forget their time in a restart", file: "stream/op_window.go",
		old: "	tk.Remember(n.Name+part+\"/time\", &f.time)\n", new: "",
		scenarios: "tumbling_grace_.*|hopping_grace_.*",
	},
	{
		name: "results on close come a moment late", file: "stream/op_window.go",
		old: "row.End <= closed {", new: "row.End < closed {",
		scenarios: "emit_final_.*",
	},
	{
		name: "results on close have no headers", file: "stream/op_window.go",
		old: "Timestamp: row.Timestamp, Headers: h,", new: "Timestamp: row.Timestamp,",
		scenarios: "headers_emit_final",
	},

	// Sliding windows.
	{
		name: "no sliding window begins after a record", file: "stream/op_sliding.go",
		old: "if a.hasRight || !a.right.OK ||", new: "if true || a.hasRight || !a.right.OK ||",
		scenarios: "sliding_.*",
	},
	{
		name: "no sliding window begins after the record before", file: "stream/op_sliding.go",
		old: "if a.previous < 0 || o.has(start) ||", new: "if true || a.previous < 0 || o.has(start) ||",
		scenarios: "sliding_.*",
	},
	{
		name: "the first sliding windows are like the others", file: "stream/op_sliding.go",
		old: "if r.Timestamp < o.d {", new: "if false {",
		scenarios: "sliding_.*",
	},
	{
		name: "a sliding window begins with nothing of those before its record", file: "stream/op_sliding.go",
		old: "			at = a.left\n", new: "",
		scenarios: "sliding_.*",
	},
	{
		name: "a sliding window closes a moment early", file: "stream/op_sliding.go",
		old: "if w.End < closed {", new: "if w.End <= closed {",
		scenarios: "sliding_.*",
	},

	// Sessions.
	{
		name: "sessions are merged the other way round", file: "stream/op_session.go",
		old: "a = o.merge(r.Key, a, row.Value)", new: "a = o.merge(r.Key, row.Value, a)",
		scenarios: "session_.*_aggregate",
	},
	{
		name: "a session ends a moment before its gap", file: "stream/op_session.go",
		old: "r.Timestamp-o.gap, r.Timestamp+o.gap,", new: "r.Timestamp-o.gap+1, r.Timestamp+o.gap-1,",
		scenarios: "session_.*",
	},
	{
		name: "no tombstone for a session that is part of a longer one", file: "stream/op_session.go",
		old: "if replaces {", new: "if false {",
		scenarios: "session_.*",
	},
	{
		name: "a session closes without waiting for its gap", file: "stream/op_session.go",
		old: "closed := o.time - o.grace - o.gap", new: "closed := o.time - o.grace",
		scenarios: "session_.*",
	},

	// Aggregations.
	{
		name: "an aggregate's timestamp is the last record's, not the newest's", file: "stream/op_aggregate.go",
		old: "o.Timestamp = max(o.Timestamp, before.Timestamp)", new: "o.Timestamp = r.Timestamp",
		scenarios: "group_by_key_.*",
	},
	{
		name: "a group begins without its initializer", file: "stream/grouped.go",
		old: "			a = init()\n", new: "",
		scenarios: "group_by_key_aggregate",
	},
	{
		name: "the adder comes before the subtractor", file: "stream/op_table_aggregate.go",
		old:       "now = a.sub(r.Key, r.Value.Old, now)\n		ok = a.isNil == nil || !a.isNil(now)\n	}\n	if r.Value.HasNew {\n		if ok {",
		new:       "if r.Value.HasNew {\n			now = a.add(r.Key, r.Value.New, now)\n		}\n		now = a.sub(r.Key, r.Value.Old, now)\n		ok = a.isNil == nil || !a.isNil(now)\n	}\n	if r.Value.HasNew && !(before.OK && r.Value.HasOld) {\n		if ok {",
		scenarios: "table_group_by_.*",
	},
	{
		name: "a row that leaves its group is not taken out", file: "stream/op_table_group.go",
		old: "	if c.HasOld {\n		if err := send(", new: "	if false {\n		if err := send(",
		scenarios: "table_group_by_.*",
	},
	{
		name: "a change within a group gives two results", file: "stream/op_table_group.go",
		old: "		if same {\n", new: "		if same && false {\n",
		scenarios: "table_group_by_same_key_aggregate",
	},

	// Tables.
	{
		name: "a tombstone is not forwarded", file: "stream/op_table_source.go",
		old: "			return keep(o)\n", new: "			if !o.Value.HasNew {\n				return nil\n			}\n			return keep(o)\n",
		scenarios: "table_source.*",
	},
	{
		name: "a filtered table keeps a row that is no longer in it", file: "stream/op_table_filter.go",
		old: "r.Value.New, r.Value.HasNew = zero, false", new: "return nil",
		scenarios: "table_filter.*",
	},
	{
		name: "a filtered table with a store sends deletions of what was not there", file: "stream/op_table_filter.go",
		old: "!had && !r.Value.HasNew && !versioned {", new: "!had && !r.Value.HasNew && !versioned && false {",
		scenarios: "table_filter.*",
	},
	{
		name: "deletions do not get to the changelog", file: "state/cache.go",
		old:       "		key := c.key(e)\n		if c.codec.logKey != nil {",
		new:       "		if value == nil {\n			continue\n		}\n		key := c.key(e)\n		if c.codec.logKey != nil {",
		scenarios: "table_source.*|session_.*",
	},
	{
		name: "an old version is the newest row", file: "stream/op_table_group.go",
		old: "	if r.Value.Late {\n", new: "	if false {\n",
		scenarios: "versioned_.*",
	},
	{
		name: "a version is valid a moment after it began", file: "state/versioned.go",
		old: "	if v.from > timestampMs {\n		if", new: "	if v.from >= timestampMs {\n		if",
		scenarios: "stream_versioned_.*|versioned_.*",
	},
	{
		name: "a versioned store refuses a moment too many", file: "state/versioned.go",
		old: "s.clock.now.set && timestampMs < s.floor()", new: "s.clock.now.set && timestampMs <= s.floor()",
		scenarios: "versioned_.*|table_.*versioned.*",
	},
	{
		name: "a version ends a moment after the next began", file: "state/versioned.go",
		old: "s.setEnded(key, next.value, next.from, timestampMs);", new: "s.setEnded(key, next.value, next.from, timestampMs+1);",
		scenarios: "versioned_.*|stream_versioned_.*",
	},

	{
		name: "an abort leaves the rows as they are", file: "state/cache.go",
		old: "		e.swap()\n		e.epoch = 0\n	}\n	if c.memory {", new: "		e.epoch = 0\n	}\n	if c.memory {",
		scenarios: "group_by_key_.*",
	},
	{
		name: "an abort leaves a store's time as it is", file: "state/clock.go",
		old: "c.now = c.committed", new: "_ = c",
		scenarios: "stream_inner_.*|tumbling_.*|session_.*|versioned_.*",
	},

	// Joins of tables.
	{
		name: "a join of tables has the timestamp of the change alone", file: "stream/op_table_join.go",
		old: "o.Timestamp = max(o.Timestamp, other.Timestamp)", new: "_ = other",
		scenarios: "table_(inner|left|outer).*",
	},
	{
		name: "an inner join of tables sends no tombstones", file: "stream/op_table_join.go",
		old: "if !other.OK && (j.needOther || !r.Value.HasNew && !r.Value.HasOld) {", new: "if !other.OK && j.needOther || !r.Value.HasNew {",
		scenarios: "table_(inner|left|outer).*",
	},
	{
		name: "a joiner is given a row twice", file: "stream/op_table_join.go",
		old: "		if other, err = j.other(r.Key); err != nil {\n			return err\n		}\n		o.Value.Old", new: "		o.Value.Old",
		scenarios: "table_join_group_by|table_three_way.*",
	},

	// Joins of a stream and a table.
	{
		name: "a left join with a table drops records without a key", file: "stream/op_join_table.go",
		old: "if r.null == 0 || j.left && r.null == nullKey {", new: "if r.null == 0 {",
		scenarios: "null_key_stream_table_left.*",
	},
	{
		name: "a join with a versioned table takes its newest row", file: "stream/op_join_table.go",
		old: "row, err = j.rows.asOf(r.Key, r.Timestamp)", new: "row, err = j.rows.get(r.Key)",
		scenarios: "stream_versioned_.*",
	},

	{
		name: "a record waits a moment longer than a versioned table's grace", file: "stream/op_join_table_grace.go",
		old: "limit := j.time - j.graceMs + 1", new: "limit := j.time - j.graceMs",
		scenarios: "stream_versioned_table_.*_grace",
	},

	// Joins of streams.
	{
		name: "a join's buffer of unmatched records is not cleared", file: "stream/op_join_streams.go",
		old: "	if h.othersWaiting != nil {\n", new: "	if false {\n",
		scenarios: "stream_(left|outer)_.*",
	},
	{
		name: "an unmatched record does not wait for the grace", file: "stream/op_join_streams.go",
		old: "j.time-j.left.reach-graceMs, j.time-j.right.reach-graceMs", new: "j.time-j.left.reach, j.time-j.right.reach",
		scenarios: "stream_(left|outer)_.*",
	},
	{
		name: "a joined record has the timestamp of the second", file: "stream/op_join_streams.go",
		old: "max(h.at.Timestamp, h.last.Start)", new: "h.at.Timestamp",
		scenarios: "stream_inner_.*",
	},
	{
		name: "before and after of a join are swapped", file: "stream/op_join_streams.go",
		old: "max(0, r.Timestamp-h.back), max(0, r.Timestamp+h.reach)", new: "max(0, r.Timestamp-h.reach), max(0, r.Timestamp+h.back)",
		scenarios: "stream_inner_(before|after)",
	},
	{
		name: "a join's window ends a moment early", file: "stream/op_join_streams.go",
		old: "max(0, r.Timestamp-h.back), max(0, r.Timestamp+h.reach)", new: "max(0, r.Timestamp-h.back), max(0, r.Timestamp+h.reach-1)",
		scenarios: "stream_inner_.*",
	},
	{
		name: "a row is kept a moment longer than the retention", file: "state/segments.go",
		old: "if floor := now.floor(t.retention); floor >= from {", new: "if floor := now.floor(t.retention + 1); floor >= from {",
		scenarios: "stream_inner_.*|tumbling_.*",
	},
	{
		name: "records without a key or a value do not move a join's time", file: "stream/op_join_streams.go",
		old: "if r.Timestamp > h.out.time && h.out.release != nil {", new: "if r.null == 0 && r.Timestamp > h.out.time && h.out.release != nil {",
		scenarios: "null_key_stream_(left|outer)|stream_(left|outer)_.*",
	},
	{
		name: "a join forgets its time in a restart", file: "stream/op_join_streams.go",
		old: "		tk.Remember(s.n.g.Name+\".time\", &j.time)\n", new: "",
		scenarios: "stream_(left|outer)_.*",
	},
	{
		name: "right unmatched records come after left ones of the same time", file: "stream/op_join_streams.go",
		old: "r <= l):", new: "r < l):",
		scenarios: "stream_outer_.*",
	},
	{
		name: "a record does not meet itself", file: "stream/op_join_self.go",
		old:       "	if err := keepRecord(j.out.t, j.out.node, j.records, r); err != nil || !done {\n		return err\n	}\n	return j.records.Each(r.Key, max(0, r.Timestamp-j.reach), max(0, r.Timestamp+j.back), false, j.asRight)\n",
		new:       "	if err := j.records.Each(r.Key, max(0, r.Timestamp-j.reach), max(0, r.Timestamp+j.back), false, j.asRight); err != nil {\n		return err\n	}\n	_ = done\n	return keepRecord(j.out.t, j.out.node, j.records, r)\n",
		scenarios: "stream_inner_self",
	},

	{
		name: "a joiner is given a value that another has changed", file: "stream/value_copies.go",
		old: "return c.serde.Decode(append([]byte(nil), c.of...))", new: "return v, nil",
		scenarios: "stream_inner_.*",
	},

	// Suppress.
	{
		name: "a suppressed window waits a moment longer", file: "stream/op_suppress.go",
		old: "return o.first <= o.time })", new: "return o.first < o.time })",
		scenarios: "suppress_.*",
	},
	{
		name: "suppress goes by the last update's time, not the highest", file: "stream/op_suppress.go",
		old: "o.time = max(o.time, r.Timestamp)", new: "o.time = r.Timestamp",
		scenarios: "suppress_.*",
	},
	{
		name: "suppress sends the first update of a key, not the last", file: "stream/op_suppress.go",
		old: "	h.old = first.old\n", new: "	h = first\n",
		scenarios: "suppress_.*",
	},
	{
		name: "suppress does not wait for the grace", file: "windows/time.go",
		old: "	return endMs + t.grace\n", new: "	return endMs\n",
		scenarios: "suppress_.*",
	},
	{
		name: "suppress holds a record too many", file: "stream/op_suppress.go",
		old: "o.rows > o.how.maxRecords", new: "o.rows > o.how.maxRecords+1",
		scenarios: "suppress_.*_max_records",
	},
	{
		name: "suppress loses headers", file: "stream/op_suppress.go",
		old: "held{timestamp: r.Timestamp, headers: r.Headers}", new: "held{timestamp: r.Timestamp}",
		scenarios: "headers_suppress",
	},

	// Foreign-key joins.
	{
		name: "a result of a foreign-key join has the left row's timestamp alone", file: "stream/op_join_foreign_right.go",
		old: "a.Timestamp = max(a.Timestamp, right.Timestamp)", new: "_ = right",
		scenarios: "fk_.*",
	},
	{
		name: "a left row that points elsewhere takes no result back", file: "stream/op_join_foreign_left.go",
		old: "case does && !moved && !t.left:", new: "case does && !t.left:",
		scenarios: "fk_.*",
	},
	{
		name: "a left row that points to nothing takes no result back", file: "stream/op_join_foreign_left.go",
		old: "		if pointed {\n			return send(was,", new: "		if false {\n			return send(was,",
		scenarios: "fk_.*",
	},

	// Streams.
	{
		name: "a record goes down every branch that takes it", file: "stream/op_split.go",
		old: "						return w.next(r)\n", new: "						if err := w.next(r); err != nil {\n							return err\n						}\n",
		scenarios: "split_.*",
	},
	{
		name: "a repartition topic takes records without a key", file: "stream/op_sink.go",
		old: "} else if s.dropNullKey {", new: "} else if false {",
		scenarios: "null_key_.*|repartition",
	},
	{
		name: "a left join with a global table drops what finds no row", file: "stream/op_join_global.go",
		old: "	if !row.OK && !j.left {\n", new: "	if !row.OK {\n",
		scenarios: "stream_global_.*",
	},
}
