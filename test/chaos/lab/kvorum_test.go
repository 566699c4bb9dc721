//go:build linux

package lab_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
)

// TestKvorum_LeaderCutOff runs three servers, cuts the leader off from both others, and
// waits until one of these leads. After the heal all agree.
func TestKvorum_LeaderCutOff(t *testing.T) {
	inEachKind(t, lab.Config{Initial: 3, Program: lab.Kvorum(mustProgram(t))}, func(t *testing.T, l lab.Lab) {
		hosts := l.Hosts()
		for _, h := range hosts {
			must(t, h.Start(t.Context()))
		}
		old := leader(t, hosts)
		others := slices.DeleteFunc(slices.Clone(hosts), func(h lab.Host) bool { return h == old })
		for _, h := range others {
			must(t, l.Cut(t.Context(), old, h))
			must(t, l.Cut(t.Context(), h, old))
		}
		if now := leader(t, others); now == old {
			t.Errorf("%s leads on", old.Name())
		}
		must(t, l.Heal(t.Context()))
		leader(t, hosts)
	})
}

// leader waits until hosts are ready and name the same leader, which is one of them.
func leader(t *testing.T, hosts []lab.Host) (leads lab.Host) {
	t.Helper()
	testkit.Eventually(t, time.Minute, "all agree on a leader", func() error {
		leads = nil
		names := map[string]bool{}
		for _, h := range hosts {
			s, err := status(h)
			if err != nil {
				return err
			}
			names[s.Leader.ID] = true
			if s.Leader.ID == h.Name() {
				leads = h
			}
		}
		if len(names) != 1 || leads == nil {
			return fmt.Errorf("leaders: %v", names)
		}
		return nil
	})
	return leads
}

// status returns the status of a server, which must be ready and know a leader.
func status(h lab.Host) (kv.Status, error) {
	var s kv.Status
	ready, err := http.Get(h.URL() + "/readyz")
	if err != nil {
		return s, err
	}
	defer ready.Body.Close()
	if ready.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s is not ready: %s", h.Name(), ready.Status)
	}
	resp, err := http.Get(h.URL() + "/status")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, err
	}
	if s.Leader == nil {
		return s, errors.New(h.Name() + " knows no leader")
	}
	return s, nil
}
