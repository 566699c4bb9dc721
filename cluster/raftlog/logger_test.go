package raftlog_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/raftlog"
)

// TestLogger shows raft's lines as an operator sees them: readable
// attributes in a group of their own, and what it calls errors as warnings.
func TestLogger(t *testing.T) {
	var out bytes.Buffer
	l := raftlog.New(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{
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

// TestLogger_Repeated shows that a peer that is down fills no log: each thing
// that raft says of it is there at once, and then at growing intervals. So does
// what it says of elections that nobody can win.
func TestLogger_Repeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := raftlog.New(slog.New(slog.NewTextHandler(&out, nil)))
		for range 290 { // 29 s
			l.Error("failed to heartbeat to", "peer", "n2.1", "error", errors.New("refused"))
			l.Error("failed to appendEntries to", "peer", raft.Server{ID: "n2.1"}, "error", errors.New("refused"))
			l.Warn("failed to contact", "server-id", raft.ServerID("n3.1"), "time", time.Since(time.Unix(0, 0)))
			l.Warn("failed to contact", "server-id", raft.ServerID("n2.1"), "time", time.Since(time.Unix(0, 0)))
			time.Sleep(100 * time.Millisecond)
		}
		for range 20 {
			l.Info("entering candidate state", "term", 3)
			time.Sleep(500 * time.Millisecond)
		}
		lines := strings.Count(out.String(), "\n")
		if want := 4*2 + 1; lines != want {
			t.Errorf("%d lines, want %d:\n%s", lines, want, &out)
		}
		if got := strings.Count(out.String(), "raft.left_out=99"); got != 4 {
			t.Errorf("%d lines tell how many were left out, want 4:\n%s", got, &out)
		}
	})
}
