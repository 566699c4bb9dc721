//go:build kvorum_v1

package fsm

// Version is the highest command version that this program understands: it was built
// with the tag kvorum_v1, and lacks the newest one.
const Version = 1
