//go:build !race

package store_test

// raceEnabled says that the race detector is on, which makes everything slow.
const raceEnabled = false
