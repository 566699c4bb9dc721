package test

import (
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestProcesses_PausedLeader stops the leader's process, clocks going on, until
// the others have a new one and a new value, and lets it go on with requests
// that were sent to it while it stood still. It must not answer a read with what
// it remembers, nor acknowledge a write that is lost: the classic stale read
// (etcd #20418).
func TestProcesses_PausedLeader(t *testing.T) {
	ps := newProcs(t, 3)
	for round := range 5 {
		old := ps.leader(t)
		before, after := fmt.Sprint("before ", round), fmt.Sprint("after ", round)
		if err := putUntilDone(old, "k", before); err != nil {
			t.Fatal(err)
		}
		pause(t, old)
		reads, writes := make(chan error, 4), make(chan error, 1)
		next := awaitOtherLeader(t, ps, old)
		if err := putUntilDone(next, "k", after); err != nil {
			t.Fatal(err)
		}
		for range cap(reads) {
			go func() { reads <- wantNotStale(old, before) }()
		}
		go func() { writes <- wantHonest(old, next, round) }()
		time.Sleep(200 * time.Millisecond) // the requests wait in its sockets
		resume(t, old)
		for range cap(reads) {
			if err := <-reads; err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if err := <-writes; err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		ps.waitReady(t)
	}
}

// pause stops a process, and has it go on at the end of the test at the latest.
func pause(t *testing.T, p *proc) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }) // it may have gone on already
}

func resume(t *testing.T, p *proc) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// awaitOtherLeader returns the node that the nodes other than old take for the leader.
func awaitOtherLeader(t *testing.T, ps procs, old *proc) (leader *proc) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "another node leads", func() error {
		for _, p := range ps {
			if p == old {
				continue
			}
			s, err := p.status()
			if err != nil {
				return err
			}
			if s.Role == "leader" {
				leader = p
				return nil
			}
		}
		return errors.New("none does")
	})
	return leader
}

// putUntilDone puts a value through p until that is acknowledged.
func putUntilDone(p *proc, key, value string) error {
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		resp, err := p.put(key, value)
		if err == nil && resp.StatusCode < 300 {
			return nil
		}
		if last = err; err == nil {
			last = errors.New(resp.Status)
		}
	}
	return fmt.Errorf("put %s through %s: %w", key, p.name, last)
}

// wantNotStale reads from p and returns an error if it answers with a value that
// was overwritten before it was asked.
func wantNotStale(p *proc, overwritten string) error {
	resp, body, err := p.get("k", "")
	if err == nil && resp.StatusCode == http.StatusOK && body == overwritten {
		return fmt.Errorf("%s answered with %q, which was overwritten before", p.name, body)
	}
	return nil // it may refuse
}

// wantHonest writes through p and returns an error if it acknowledges what other
// then does not have.
func wantHonest(p, other *proc, round int) error {
	key := fmt.Sprint("late", round)
	resp, err := p.put(key, "v")
	if err != nil || resp.StatusCode >= 300 {
		return nil // refused, or unknown
	}
	if _, body, err := other.get(key, ""); err != nil || body != "v" {
		return fmt.Errorf("%s acknowledged %s, of which %s has %q (%v)", p.name, key, other.name, body, err)
	}
	return nil
}
