// Package kafka runs topologies on a Kafka cluster: Broker is a log.Broker on it, through franz-go.
//
// It is for one instance of an application at a time. A second one that starts takes the place of the first,
// which hears of it (log.Lost, log.OutcomeFenced) and stops.
//
// A member of a group has up to three clients of its own, since each has one thing to do and none is to wait
// for another:
//
//   - a producer (producer.go), whose transactional id is the group's name. An epoch is one of its transactions
//     (epoch.go).
//   - a place in the group (group.go): member id and generation, under which offsets are committed. It is a
//     static member (KIP-345), so that a restart after a crash need not wait for a session to end.
//   - a fetcher (fetcher.go): it reads whole record batches, which package log decodes in place. kgo's own
//     consumer is not used: it neither tells the end of a partition that has no records, nor the offset after
//     the transaction markers at the end of a fetch, and it makes a struct of each record.
//
// Where an epoch is committed, and what every answer or lack of one means, stands at the top of epoch.go.
package kafka
