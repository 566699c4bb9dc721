package client_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

// TestClient_Status asks a real node.
func TestClient_Status(t *testing.T) {
	c := mustNew(t, client.Config{Endpoints: []string{endpoint}})
	w, err := c.Put(t.Context(), "status", []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != "n1" || s.ClusterID == "" || s.Role != "leader" || s.Leader == nil || s.Leader.ID != "n1" || s.Term == 0 ||
		s.CommitIndex == 0 || s.AppliedIndex == 0 || s.Revision < w.Revision || s.NotReady != nil {
		t.Errorf("got %+v", s)
	}
	var all map[string]any
	if err := json.Unmarshal(s.JSON, &all); err != nil || all["id"] != "n1" || all["log"] == nil {
		t.Errorf("got %s, %v, want all that the node says", s.JSON, err)
	}
	members, err := c.Members(t.Context())
	if err != nil || !slices.Equal(members, s.Members) || len(members) != 1 {
		t.Fatalf("got %+v, %v, want %+v", members, err, s.Members)
	}
	if m := members[0]; m.ID != "n1" || m.HTTPAddr != endpoint || m.PeerAddr == "" || !m.Voter || !m.Leader {
		t.Errorf("got %+v", m)
	}
}

// TestStatus_NotReady shows that the readiness is that of the node that gave the status.
func TestStatus_NotReady(t *testing.T) {
	notReady := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			noLeader(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"id":"n1","role":"joining","leader":null,"members":[]}`)
	})
	ready := serve(t, ok)
	c := mustNew(t, client.Config{Endpoints: []string{notReady.URL, ready.URL}})
	s, err := c.Status(t.Context())
	if err != nil || s.ID != "n1" || s.Leader != nil || s.Disk != nil {
		t.Fatalf("got %+v, %v", s, err)
	}
	wantError(t, s.NotReady, client.NotDone, "No leader: no leader is known")
	_, err = c.Members(t.Context())
	if e := wantError(t, err, client.NotDone, "node n1 is in no cluster yet"); e.Code != "not_joined" || !e.Retryable || e.Endpoint != notReady.URL {
		t.Errorf("got %+v", e)
	}
	if n := len(ready.seen()); n != 0 {
		t.Errorf("got %d requests to the other node, want none", n)
	}
}

// TestClient_ChangesOfTheCluster shows the request of each change.
func TestClient_ChangesOfTheCluster(t *testing.T) {
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(body)
		switch r.URL.Path {
		case "/admin/join":
			_, _ = io.WriteString(w, `{"id":"n4","peer_addr":"h:7004","http_addr":"h:8004","voter":true}`)
		case "/admin/snapshot":
			_, _ = io.WriteString(w, `{"id":"n2","index":7,"bytes":1000,"log_bytes_before":9000,"log_bytes_after":5000}`)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	ctx, c := t.Context(), mustNew(t, client.Config{Endpoints: []string{s.URL}})
	sent := func(want string, err error) {
		t.Helper()
		if want = "POST /admin/" + strings.Replace(want, " ", " application/json ", 1); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	member, err := c.Join(ctx, kv.JoinRequest{ID: "n4", PeerAddr: "h:7004", HTTPAddr: "h:8004"})
	sent(`join {"id":"n4","peer_addr":"h:7004","http_addr":"h:8004"}`, err)
	if want := (kv.Member{ID: "n4", PeerAddr: "h:7004", HTTPAddr: "h:8004", Voter: true}); member.Member != want || member.Leader {
		t.Errorf("got %+v, want %+v", member, want)
	}
	sent(`leave {"id":"n2"}`, c.Leave(ctx, kv.LeaveRequest{ID: "n2"}))
	sent(`leave {}`, c.Leave(ctx, kv.LeaveRequest{}))
	sent(`leave {"force":true,"id":"n2"}`, c.Leave(ctx, kv.LeaveRequest{ID: "n2", Force: true}))
	sent(`transfer {"id":"n2"}`, c.Transfer(ctx, "n2"))
	sent(`transfer {}`, c.Transfer(ctx, ""))
	result, err := c.Snapshot(ctx, "n2")
	sent(`snapshot {"id":"n2"}`, err)
	if want := (kv.SnapshotResult{ID: "n2", Index: 7, Bytes: 1000, LogBytesBefore: 9000, LogBytesAfter: 5000}); result != want {
		t.Errorf("got %+v, want %+v", result, want)
	}
}

// TestClient_NodeThatIsAsked shows that a change of the node that is asked needs a client
// with one endpoint: with several it could be any of them.
func TestClient_NodeThatIsAsked(t *testing.T) {
	a, b := serve(t, ok), serve(t, ok)
	c := mustNew(t, client.Config{Endpoints: []string{a.URL, b.URL}})
	_, err := c.Snapshot(t.Context(), "")
	for _, err := range []error{err, c.Leave(t.Context(), kv.LeaveRequest{})} {
		if wantError(t, err, client.NotDone, "name the node"); !errors.Is(err, client.ErrUsage) {
			t.Errorf("got %v, want ErrUsage", err)
		}
	}
	if len(a.seen())+len(b.seen()) != 0 {
		t.Error("got a request, want none")
	}
}

// TestClient_RealNodeRefuses shows that a node's reasons reach the caller.
func TestClient_RealNodeRefuses(t *testing.T) {
	c := mustNew(t, client.Config{Endpoints: []string{endpoint}})
	for code, err := range map[kv.Code]error{
		"unknown_node": c.Leave(t.Context(), kv.LeaveRequest{ID: "nobody"}),
		"last_voter":   c.Leave(t.Context(), kv.LeaveRequest{ID: "n1"}),
	} {
		if e := wantError(t, err, client.NotDone); e.Code != code || e.Endpoint != "http://"+endpoint || errors.Is(err, client.ErrUsage) {
			t.Errorf("got %+v, want code %s", e, code)
		}
	}
	if _, err := c.Put(t.Context(), "snapshot", []byte("v")); err != nil {
		t.Fatal(err)
	}
	s, err := c.Snapshot(t.Context(), "")
	if err != nil || s.ID != "n1" || s.Index == 0 || s.Bytes == 0 {
		t.Errorf("got %+v, %v", s, err)
	}
}
