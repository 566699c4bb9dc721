//go:build !kvorum_v2 && !kvorum_v3

package fsm

// Version is the highest command version that this program understands. With the build tags
// kvorum_v2 and kvorum_v3 the program lacks newer ones, for tests of rolling upgrades.
const Version = 4
