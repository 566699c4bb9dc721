package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// TestRaftLogger shows raft's lines as an operator sees them: readable
// attributes in a group of their own, and what it calls errors as warnings.
func TestRaftLogger(t *testing.T) {
	var out bytes.Buffer
	l := raftLogger(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	l.Error("failed", "node", new(raft.Raft), "peer", raft.Server{ID: "n2.1", Address: "n2.1"},
		"error", errors.New("refused"), "servers", hclog.Fmt("%d of %d", 1, 3), "wait", time.Second)
	want := `{"level":"WARN","msg":"failed","raft":{"node":"Node at  [Follower]",` +
		`"peer":"{Suffrage:Voter ID:n2.1 Address:n2.1}","error":"refused","servers":"1 of 3","wait":1000000000}}` + "\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}
