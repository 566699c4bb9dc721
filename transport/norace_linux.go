//go:build !race

package transport

// raceEnabled says whether the race detector is on.
const raceEnabled = false
