//go:build kvorum_v3

package fsm

// Version is the highest command version that this program understands. It was built with
// the tag kvorum_v3, and lacks the newest version.
const Version = 3
