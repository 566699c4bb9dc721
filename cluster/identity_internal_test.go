package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/kv"
)

// TestValidateName shows that a bad name is an error of the field id, with size and limit
// where it is too long.
func TestValidateName(t *testing.T) {
	for name, limit := range map[string]int64{strings.Repeat("x", 65): 64, "": 0, "a.b": 0} {
		var invalid *kv.ValidationError
		if err := validateName(name); !errors.As(err, &invalid) || invalid.Field != "id" || invalid.Limit != limit ||
			limit != 0 && invalid.Size != int64(len(name)) {
			t.Errorf("validateName(%q) = %+v", name, invalid)
		}
	}
	if err := validateName("n1"); err != nil {
		t.Error(err)
	}
}

func TestIncarnationOf(t *testing.T) {
	for id, want := range map[raft.ServerID]string{"n1.0123": "0123", "a.b.c": "c", "plain": ""} {
		if got := incarnationOf(id); got != want {
			t.Errorf("incarnationOf(%q) = %q, want %q", id, got, want)
		}
	}
}
