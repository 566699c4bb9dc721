package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
// after the other, while a client writes. The first way there is held back, so that it can
// be undone; the second one is not. Commands that the old build does not know are written
// only while all three understand them, and nothing that was acknowledged is lost.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("skipped in short mode: restarts three processes three times, and waits for checkpoints")
	}
	ps := startProcs(t, 3, func(p *proc) { p.build = oldBuild })
	writer := startWriter(t, ps)
	restartAll := func(change func(*proc)) {
		t.Helper()
		for _, p := range ps {
			change(p)
			ps.restart(t, p)
			writer.wait(t, 20)
		}
	}
	verified := func() {
		t.Helper()
		at := ps.leader(t).mustStatus(t).AppliedIndex
		for _, p := range ps {
			testkit.Eventually(t, time.Minute, p.name+" has compared its state", func() error {
				if s, err := p.status(); err != nil || s.State.VerifiedIndex <= at {
					return fmt.Errorf("status %+v, %v", s.State, err)
				}
				return nil
			})
		}
	}
	needs := func(version int) {
		t.Helper()
		for _, p := range ps {
			if s := p.mustStatus(t); s.Versions.Needs != version {
				t.Errorf("%s: a build must understand version %d to take its directory over, want %d", p.name, s.Versions.Needs, version)
			}
		}
	}

	restartAll(func(p *proc) { p.build, p.extra = newBuild, append(p.extra, "--max-command-version", "2") })
	ps.wantGate(t, ps.leader(t), 2, "n1", "n2", "n3")
	verified()
	needs(2)
	restartAll(func(p *proc) { p.build, p.extra = oldBuild, p.extra[:len(p.extra)-2] })
	if s := ps.leader(t).mustStatus(t); s.Versions.Understands != 2 {
		t.Errorf("the old build is not back: got %+v", s.Versions)
	}
	verified()

	for i, p := range ps {
		if i == len(ps)-1 {
			ps.lead(t, ps[0])
			ps.wantGate(t, ps[0], 2, p.name)
			verified() // the replicas of both builds agree on their state
			needs(2)
		}
		p.build = newBuild
		ps.restart(t, p)
		writer.wait(t, 20)
	}
	ps.wantGate(t, ps.leader(t), 4)
	testkit.Eventually(t, time.Minute, "the history begins", func() error {
		if s := ps.leader(t).mustStatus(t); s.Versions.Needs != 3 {
			return fmt.Errorf("%+v", s.Versions)
		}
		return nil
	})
	verified()
	needs(3)
	for _, p := range ps {
		ps.snapshot(t, p)
	}
	needs(3) // snapshots have the history
	writer.check(t, ps)
}

// TestOldBuild_StopsAtNewerCommand shows that a build stops at a command that it does not
// know, and that its error has the entry, the version that is needed, and advice. The newer
// build then continues.
func TestOldBuild_StopsAtNewerCommand(t *testing.T) {
	ps := startProcs(t, 1, func(*proc) {})
	p := ps[0]
	writer := startWriter(t, ps)
	writer.wait(t, 20)
	if err := p.stop(t); err != nil {
		t.Fatal(err)
	}
	p.build = oldBuild
	p.start(t)
	if err := p.wait(t, time.Minute); err == nil {
		t.Fatal("the old build exits with 0")
	}
	line := lastLine(p.logs.Tail(2000))
	for _, words := range []string{"kvorum: ", "apply entry ", "command version 3", "up to 2", "a newer version of kvorum has written this", "start that version"} {
		if !strings.Contains(line, words) {
			t.Errorf("got %q, want it to say %q", line, words)
		}
	}
	p.build = newBuild
	p.start(t)
	ps.waitReady(t)
	writer.check(t, ps)
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

// sampled is the distance of the keys that check also reads one by one. Reading all of the
// many keys that way takes a minute, and the list has them all.
const sampled = 50

// check ends the writer, and reads all acknowledged writes from each server: all in a list,
// and some by requests of their own, which a server answers from another structure.
func (w *writer) check(t *testing.T, ps procs) {
	t.Helper()
	w.stop()
	<-w.ended
	t.Logf("%d writes were acknowledged", len(w.wrote))
	for _, p := range ps {
		listed := p.mustList(t)
		for key, want := range w.wrote {
			if got, ok := listed[key]; !ok || got != want {
				t.Fatalf("%s: %s: the list has %q, %t, want %q", p.name, key, got, ok, want)
			}
		}
		for i, key := range slices.Sorted(maps.Keys(w.wrote)) {
			if i%sampled != 0 && i != len(w.wrote)-1 {
				continue
			}
			if _, body, err := p.get(key, ""); err != nil || body != w.wrote[key] {
				t.Fatalf("%s: %s: got %q, %v, want %q", p.name, key, body, err, w.wrote[key])
			}
		}
	}
}

// mustList returns the values of all keys, by their keys, as a linearizable list of p has
// them.
func (p *proc) mustList(t *testing.T) map[string]string {
	t.Helper()
	c, err := kvclient.New(kvclient.Config{Endpoints: []string{p.http()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list, err := c.List(t.Context(), kvclient.ListOptions{})
	if err != nil {
		t.Fatalf("list %s: %v", p.name, err)
	}
	values := map[string]string{}
	for item, err := range list.All() {
		if err != nil {
			t.Fatalf("list %s: %v", p.name, err)
		}
		values[item.Key] = string(item.Value)
	}
	return values
}
