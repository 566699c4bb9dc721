//go:build race

package sim

// raceEnabled reports whether the tests run under the race detector, which makes them some
// ten times as slow. They then look for races, with fewer faults: the same tests without it
// look for all else.
const raceEnabled = true
