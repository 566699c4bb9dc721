//go:build !kvorum_v1

package fsm

// Version is the highest command version that this program understands. With the build tag
// kvorum_v1 the program lacks the newest version, for tests of rolling upgrades.
const Version = 2
