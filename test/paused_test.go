package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestProcesses_PausedLeader pauses the leader's process, while clocks advance, until the
// others have a new leader and a new value. Then the process continues, with requests that
// were sent to it during the pause. It must not answer a read with its old value, the
// classic stale read (etcd #20418), nor acknowledge a write that is lost.
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
		written := make(chan struct{}, cap(reads)+cap(writes)) // the requests wait in its sockets
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) {
				select {
				case written <- struct{}{}:
				default: // one was written again, over another connection
				}
			},
		})
		next := awaitOtherLeader(t, ps, old)
		if err := putUntilDone(next, "k", after); err != nil {
			t.Fatal(err)
		}
		for range cap(reads) {
			go func() { reads <- wantNotStale(ctx, old, before) }()
		}
		go func() { writes <- wantHonest(ctx, old, next, round) }()
		testkit.Until(t, 20*time.Second, "all requests are written", func() bool { return len(written) == cap(written) })
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

// pause stops a process. It continues at the end of the test at the latest.
func pause(t *testing.T, p *proc) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }) // it may run already
}

func resume(t *testing.T, p *proc) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// awaitOtherLeader returns the node that is the leader according to all nodes except old.
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

// wantNotStale reads from p, and returns an error if it answers with a value that was
// overwritten before the read.
func wantNotStale(ctx context.Context, p *proc, overwritten string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.keyURL("k"), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil // it may refuse
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK && string(body) == overwritten {
		return fmt.Errorf("%s answered with %q, which was overwritten before", p.name, body)
	}
	return nil // it may refuse
}

// wantHonest writes through p, and returns an error if it acknowledges a write that other
// then does not have.
func wantHonest(ctx context.Context, p, other *proc, round int) error {
	key := fmt.Sprint("late", round)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, p.keyURL(key), strings.NewReader("v"))
	if err != nil {
		return err
	}
	resp, err := do(req)
	if err != nil || resp.StatusCode >= 300 {
		return nil // refused, or unknown
	}
	if _, body, err := other.get(key, ""); err != nil || body != "v" {
		return fmt.Errorf("%s acknowledged %s, of which %s has %q (%v)", p.name, key, other.name, body, err)
	}
	return nil
}
