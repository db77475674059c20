package stream

// Dropped counts records that an operator dropped, by reason. A record that several operators below one another
// would drop is dropped once; one that several siblings drop, once by each.
type Dropped struct {
	NullKey     int64 // no key, where one is needed
	NullValue   int64 // null, where a value is needed that the type has no null for
	Timestamp   int64 // a negative timestamp from Topic.WithTimestamps
	Late        int64 // too late for a window, once for each, or for a join to keep
	Undecodable int64 // input that could not be decoded; Config.OnDeserializationError chose to go on
	Failed      int64 // a function panicked or failed; Config.OnProcessingError chose to go on
	Unwritten   int64 // output that could not be written; Config.OnProductionError chose to go on
}

// Total is how many there are in all.
func (d Dropped) Total() int64 {
	return d.NullKey + d.NullValue + d.Timestamp + d.Late + d.Undecodable + d.Failed + d.Unwritten
}

// OperatorDropped is what one operator dropped.
type OperatorDropped struct {
	// Operator is its kind, such as "GroupByKey"; Name its name in the topology, and At the file:line of the call
	// that made it.
	Operator, Name, At string
	Dropped
}

// Dropped tells which operators of this instance dropped records since Run began, in the order in which they were
// declared; operators that dropped none are left out. It may be called at any time, also after Run has ended.
//
// Only epochs that are committed count: a record that is dropped again, since its epoch was aborted, counts once.
// Config.Logger is told of the first records that an operator drops, and then once a minute if there are more.
func (a *App) Dropped() []OperatorDropped {
	select {
	case <-a.running:
	default:
		return nil
	}
	counts := a.runner.Dropped()
	var all []OperatorDropped
	for _, n := range a.topology.graph.Nodes {
		if d, ok := counts[n]; ok {
			all = append(all, OperatorDropped{n.Op, n.Name, n.At, Dropped(d)})
		}
	}
	return all
}
