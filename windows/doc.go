// Package windows has the kinds of windows, and the arithmetic of time that goes with them: which windows a
// timestamp belongs to, when a window closes. It has no state and does no I/O.
//
// Times are timestamps of records, in milliseconds since the epoch, and not negative. A window closes when
// stream time, the highest timestamp seen so far, reaches its end plus its grace: until then it takes records
// that are late. Grace is 0 unless WithGrace says otherwise.
//
// A window that cannot be, such as one of no length, is made all the same, and carries its error: who builds a
// topology from it gets it with file and line.
package windows
