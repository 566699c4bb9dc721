package wal

// RecordEnd records the durable end now, as the log does by itself after RecordDelay.
func (w *WAL) RecordEnd() error { return w.recordEnd() }
