//go:build !kvorum_v1

package fsm

// Version is the highest command version that this program understands. The build tag
// kvorum_v1 makes a program that lacks the newest one, for tests of rolling upgrades.
const Version = 2
