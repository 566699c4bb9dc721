package wal

// SaveEnd saves the durable end now, as the log does by itself after DurableEndDelay.
func (w *WAL) SaveEnd() error { return w.saveEnd() }
