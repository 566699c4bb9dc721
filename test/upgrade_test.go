package test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kvclient "github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// TestRollingUpgrade takes three nodes from the old build to the new one and back, one
// after the other, while a client writes. Commands that the old build does not know are
// written only while all three understand them, and nothing that was acknowledged is lost.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in short mode: restarts three processes three times, and waits for checkpoints")
	}
	ps := startProcs(t, 3, func(p *proc) { p.build = oldBuild })
	writer := startWriter(t, ps)

	for i, p := range ps {
		if i == len(ps)-1 {
			ps.lead(t, ps[0])
			ps.wantGate(t, ps[0], 1, p.name)
			for _, q := range ps {
				if s := q.mustStatus(t); s.State.Index != 0 {
					t.Errorf("%s has a checkpoint at %d before all members understand it", q.name, s.State.Index)
				}
			}
		}
		p.build = newBuild
		ps.restart(t, p)
		writer.wait(t, 20)
	}
	leader := ps.leader(t)
	ps.wantGate(t, leader, 2)
	for _, p := range ps {
		testkit.Eventually(t, time.Minute, p.name+" has compared its state", func() error {
			if s, err := p.status(); err != nil || s.State.VerifiedIndex == 0 {
				return fmt.Errorf("status %+v, %v", s.State, err)
			}
			return nil
		})
		if s := p.mustStatus(t); s.Versions.Needs != 2 {
			t.Errorf("%s: a build must understand version %d to take its directory over, want 2", p.name, s.Versions.Needs)
		}
	}

	for i, p := range ps {
		p.extra = append(p.extra, "--max-command-version", "1")
		ps.restart(t, p)
		var behind []string
		for _, q := range ps[:i+1] {
			behind = append(behind, q.name)
		}
		ps.wantGate(t, ps.leader(t), 1, behind...)
		writer.wait(t, 20)
	}
	for _, p := range ps {
		ps.snapshot(t, p)
		if s := p.mustStatus(t); s.Versions.Needs != 1 || s.Versions.Understands != 2 || s.Versions.Announces != 1 {
			t.Errorf("%s after its snapshot: got %+v, want that version 1 is enough", p.name, s.Versions)
		}
	}
	for _, p := range ps {
		p.build = oldBuild
		ps.restart(t, p)
		writer.wait(t, 20)
	}
	if s := ps.leader(t).mustStatus(t); s.Versions.Understands != 1 {
		t.Errorf("the old build is not back: got %+v", s.Versions)
	}
	writer.check(t, ps)
}

// TestOldBuild_StopsAtNewerCommand shows that a build stops at a command that it does not
// know, and that its error has the entry, the version that is needed, and advice. The newer
// build then continues.
func TestOldBuild_StopsAtNewerCommand(t *testing.T) {
	p := &proc{name: "n1", ip: loopback(), dir: unpack(t, filepath.Join("testdata", nodeGolden+".tar.gz")), logs: new(testkit.Log), build: oldBuild}
	p.start(t)
	t.Cleanup(p.kill)
	if err := p.wait(t, time.Minute); err == nil {
		t.Fatal("the old build exits with 0")
	}
	line := lastLine(p.logs.Tail(2000))
	for _, words := range []string{"kvorum: ", "apply entry ", "command version 2", "up to 1", "a newer version of kvorum has written this", "start that version"} {
		if !strings.Contains(line, words) {
			t.Errorf("got %q, want it to say %q", line, words)
		}
	}
	p.build = newBuild
	p.start(t)
	procs{p}.waitReady(t)
	if _, body, err := p.get("pair-2", ""); err != nil || body != "or none" {
		t.Errorf("got %q, %v, want what the newer command has written", body, err)
	}
}

// restart stops a server with SIGTERM, and starts it with its present settings.
func (ps procs) restart(t *testing.T, p *proc) {
	t.Helper()
	if err := p.stop(t); err != nil {
		t.Fatalf("stop %s: %v", p.name, err)
	}
	p.start(t)
	ps.waitReady(t)
}

// lead makes a server the leader.
func (ps procs) lead(t *testing.T, p *proc) {
	t.Helper()
	if _, stderr, err := kvorum(t, "transfer", p.name, "--endpoints", p.http()); err != nil {
		t.Fatalf("transfer: %v %s", err, stderr)
	}
	if got := ps.leader(t); got != p {
		t.Fatalf("%s leads, want %s", got.name, p.name)
	}
}

// snapshot makes a server take a snapshot of everything that was committed before the call.
func (ps procs) snapshot(t *testing.T, p *proc) {
	t.Helper()
	if _, stderr, err := kvorum(t, "snapshot", p.name, "--endpoints", p.http()); err != nil {
		t.Fatalf("snapshot: %v %s", err, stderr)
	}
}

// wantGate waits until a leader writes commands of a version, held back by the named
// members alone.
func (ps procs) wantGate(t *testing.T, leader *proc, writes int, heldBackBy ...string) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, fmt.Sprintf("%s writes version %d, held back by %v", leader.name, writes, heldBackBy), func() error {
		s, err := leader.status()
		if err != nil {
			return err
		}
		if s.Versions.Writes != writes || !slices.Equal(s.Versions.HeldBackBy, heldBackBy) {
			return fmt.Errorf("role %s, %+v, members %+v", s.Role, s.Versions, s.Members)
		}
		return nil
	})
}

func (p *proc) mustStatus(t *testing.T) kv.Status {
	t.Helper()
	s, err := p.status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writer writes one key after the other until it is checked.
type writer struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when the writer has ended

	mu    sync.Mutex
	wrote map[string]string // guarded by mu; acknowledged values by their keys
}

// startWriter starts a client that writes through all servers in turn.
func startWriter(t *testing.T, ps procs) *writer {
	t.Helper()
	var endpoints []string
	for _, p := range ps {
		endpoints = append(endpoints, p.http())
	}
	c, err := kvclient.New(kvclient.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	w := &writer{stop: stop, ended: make(chan struct{}), wrote: map[string]string{}}
	go func() {
		defer close(w.ended)
		defer c.Close()
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprintf("key-%06d", i)
			_, err := c.Put(ctx, key, []byte("value of "+key))
			switch {
			case err == nil:
				w.mu.Lock()
				w.wrote[key] = "value of " + key
				w.mu.Unlock()
			case ctx.Err() == nil && !errors.As(err, new(*kvclient.Error)): // which says what became of it
				t.Errorf("put %s: %v", key, err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-w.ended
	})
	return w
}

// acknowledged returns the number of acknowledged writes.
func (w *writer) acknowledged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.wrote)
}

// wait returns when writes more writes were acknowledged.
func (w *writer) wait(t *testing.T, writes int) {
	t.Helper()
	want := w.acknowledged() + writes
	testkit.Until(t, time.Minute, fmt.Sprintf("%d writes more", writes), func() bool { return w.acknowledged() >= want })
}

// check ends the writer, and reads all acknowledged writes from each server.
func (w *writer) check(t *testing.T, ps procs) {
	t.Helper()
	w.stop()
	<-w.ended
	t.Logf("%d writes were acknowledged", len(w.wrote))
	for _, p := range ps {
		for key, want := range w.wrote {
			if _, body, err := p.get(key, ""); err != nil || body != want {
				t.Fatalf("%s: %s: got %q, %v, want %q", p.name, key, body, err, want)
			}
		}
	}
}
