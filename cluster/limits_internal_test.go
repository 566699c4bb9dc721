package cluster

import (
	"slices"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// TestLoggedLimits shows when a member with other limits is logged: once, and again if it has
// had the right ones, or others, meanwhile. An answer that is missing changes nothing.
func TestLoggedLimits(t *testing.T) {
	right, low, lower := kv.MemberLimits{ID: "n2", MaxValueBytes: 10}, kv.MemberLimits{ID: "n2", MaxValueBytes: 5}, kv.MemberLimits{ID: "n2", MaxValueBytes: 4}
	other := kv.MemberLimits{ID: "n3", MaxValueBytes: 5}
	logged := make(loggedLimits)
	for i, tt := range []struct {
		answers, found []kv.MemberLimits
		fresh          bool
	}{
		{[]kv.MemberLimits{right}, nil, false},
		{[]kv.MemberLimits{low}, []kv.MemberLimits{low}, true},
		{[]kv.MemberLimits{low}, []kv.MemberLimits{low}, false},
		{nil, nil, false},
		{[]kv.MemberLimits{low}, []kv.MemberLimits{low}, false},
		{[]kv.MemberLimits{low, other}, []kv.MemberLimits{low, other}, true},
		{[]kv.MemberLimits{right, other}, []kv.MemberLimits{other}, false},
		{[]kv.MemberLimits{low, other}, []kv.MemberLimits{low, other}, true},
		{[]kv.MemberLimits{lower}, []kv.MemberLimits{lower}, true},
	} {
		found, fresh := logged.note(tt.answers, func(m kv.MemberLimits) bool { return m.MaxValueBytes < 10 })
		if !slices.Equal(found, tt.found) || fresh != tt.fresh {
			t.Errorf("%d: got %v, %v, want %v, %v", i, found, fresh, tt.found, tt.fresh)
		}
	}
}
