//go:build kvorum_v2

package fsm

// Version is the highest command version that this program understands. It was built with
// the tag kvorum_v2, and lacks the newest versions.
const Version = 2
