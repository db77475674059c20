// Package log is a partitioned, durable log of records in one process: topics, idempotent and
// transactional producers, consumer offsets and readers, on files in Kafka's own formats.
//
// It shares its name with the standard library's logger, which no file of this project imports, and
// exports no name that one has, so that a wrong import never compiles.
package log
