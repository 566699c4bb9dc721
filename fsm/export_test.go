package fsm

// DecodeEntryForTesting decodes an entry without applying it.
func DecodeEntryForTesting(data []byte) error { return newest.entry(data, new(batch)) }
