package load_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/fake"
	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/history"
)

// against runs clients against a cluster until done returns true.
func against(t *testing.T, c *fake.Cluster, cfg load.Config, done func(*history.History) bool) (*load.Load, *history.History) {
	t.Helper()
	return againstUntil(t, c, cfg, func(_ *load.Load, h *history.History) bool { return done(h) })
}

// againstUntil is against with a condition that also asks the clients.
func againstUntil(t *testing.T, c *fake.Cluster, cfg load.Config, done func(*load.Load, *history.History) bool) (*load.Load, *history.History) {
	t.Helper()
	h := history.New("test/")
	cfg.Hosts, cfg.Seed, cfg.Pause = c.Hosts(), 7, time.Millisecond
	l := load.Start(cfg, h)
	defer l.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !done(l, h); {
		if time.Now().After(deadline) {
			t.Fatalf("not seen within five minutes: %+v", h.Promises())
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
	return l, h
}

// broken returns the promises that were not kept.
func broken(h *history.History) map[string]history.Promise {
	found := map[string]history.Promise{}
	for _, p := range h.Promises() {
		if p.Broken > 0 {
			found[p.Name] = p
		}
	}
	return found
}

// operations returns a condition that so many operations are in the history.
func operations(n int) func(*history.History) bool {
	return func(h *history.History) bool { return h.Len() >= n }
}

// TestLoad_Honest shows that a cluster that keeps its promises passes, and that every
// promise was looked at.
func TestLoad_Honest(t *testing.T) {
	c := fake.New(t, 3)
	l, h := againstUntil(t, c, load.Config{}, func(l *load.Load, h *history.History) bool {
		return h.Len() >= 3000 && len(l.Few()) == 0
	})
	if found := broken(h); len(found) > 0 {
		t.Errorf("broken: %+v", found)
	}
	looked := map[string]int{}
	for _, p := range h.Promises() {
		looked[p.Name] = p.Looked
	}
	for _, name := range load.Promises {
		if looked[name] == 0 {
			t.Errorf("%s: nothing was looked at", name)
		}
	}
	if report := h.Check(time.Minute); len(report.Failures)+len(report.Undecided) > 0 || report.Operations < 3000 {
		t.Errorf("got %+v", report)
	}
	acknowledged, reads := 0, 0
	for _, s := range l.Seconds() {
		acknowledged, reads = acknowledged+s.Acknowledged, reads+s.Reads
	}
	if acknowledged < 500 || reads < 500 || l.Clients() != 15 {
		t.Errorf("%d writes, %d reads of %d clients", acknowledged, reads, l.Clients())
	}
}

// TestLoad_OldNode shows that a node that answers with an old state is found by reads with
// min_revision, by sessions, and in the history.
func TestLoad_OldNode(t *testing.T) {
	c := fake.New(t, 3)
	c.Write("test/x", "y")
	time.AfterFunc(500*time.Millisecond, c.Nodes[1].Freeze)
	against(t, c, load.Config{}, func(h *history.History) bool {
		found := broken(h)
		return found["a session never goes back"].Broken > 0 && found["a read with min_revision is not older than it"].Broken > 0 &&
			len(h.Check(time.Minute).Failures) > 0 // its reads at the level linearizable
	})
}

// TestLoad_SessionChangesHosts shows that a session continues if its host is down, and that
// only the clients of that host are named as thin.
func TestLoad_SessionChangesHosts(t *testing.T) {
	c := fake.New(t, 3)
	down := func(w http.ResponseWriter, _ *http.Request) bool {
		fake.Problem(w, http.StatusServiceUnavailable, "no_leader", "not_done")
		return true
	}
	c.Nodes[2].Refuse = down
	l, h := againstUntil(t, c, load.Config{}, func(l *load.Load, h *history.History) bool {
		return h.Len() >= 3000 && len(l.Thin()) <= 4
	})
	if found := broken(h); len(found) > 0 {
		t.Errorf("broken: %+v", found)
	}
	thin := l.Thin()
	for _, u := range thin {
		if !strings.HasSuffix(u.What, "of n3") || !strings.HasPrefix(u.What, "client") {
			t.Errorf("%s: %s", u.What, u.Reason)
		}
	}
	if len(thin) != 4 {
		t.Errorf("got %+v", thin)
	}
	refused := 0
	for _, s := range l.Seconds() {
		refused += s.Refused
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// TestLoad_Lies shows that the lies of a client are found.
func TestLoad_Lies(t *testing.T) {
	t.Run("UnknownAsNotDone", func(t *testing.T) {
		c := fake.New(t, 3)
		var n atomic.Int64
		for _, node := range c.Nodes {
			node.Swallow = func(*http.Request) bool { return n.Add(1)%50 == 0 }
		}
		against(t, c, load.Config{Lie: load.UnknownAsNotDone}, func(h *history.History) bool {
			return broken(h)["a write happens once, and not where it was reported as not done"].Broken > 0
		})
	})
	t.Run("UnknownIsNoLie", func(t *testing.T) {
		c := fake.New(t, 3)
		var n atomic.Int64
		for _, node := range c.Nodes {
			node.Swallow = func(*http.Request) bool { return n.Add(1)%50 == 0 }
		}
		_, h := against(t, c, load.Config{}, operations(3000))
		report := h.Check(time.Minute)
		if found := broken(h); len(found) > 0 || len(report.Failures)+len(report.Undecided) > 0 || report.Unknown == 0 {
			t.Errorf("broken: %+v; %+v", found, report)
		}
	})
	t.Run("StaleAsLinearizable", func(t *testing.T) {
		c := fake.New(t, 3)
		c.Nodes[0].Lag(20)
		against(t, c, load.Config{Lie: load.StaleAsLinearizable}, func(h *history.History) bool {
			return h.Len() >= 1000 && len(h.Check(time.Minute).Failures) > 0
		})
	})
	t.Run("StaleIsNoLie", func(t *testing.T) {
		c := fake.New(t, 3)
		c.Nodes[0].Lag(20)
		_, h := against(t, c, load.Config{}, operations(2000))
		report := h.Check(time.Minute)
		if found := broken(h); len(found) > 0 || len(report.Failures)+len(report.Undecided) > 0 {
			t.Errorf("broken: %+v; %+v", found, report)
		}
	})
	t.Run("LostWrite", func(t *testing.T) {
		c := fake.New(t, 3)
		began := time.Now()
		_, h := against(t, c, load.Config{Lie: load.LostWrite}, func(h *history.History) bool {
			return h.Len() > 100 && time.Since(began) > 3*time.Second
		})
		if report := h.Check(time.Minute); len(report.Failures) != 1 {
			t.Errorf("got %+v", report)
		}
	})
}

// TestLoad_LiesAboutHistory shows that lies about changes and reads at a revision are found,
// those of a node too.
func TestLoad_LiesAboutHistory(t *testing.T) {
	const past = "a read at a revision has one answer, on each node and at any time"
	t.Run("NewestAsPast", func(t *testing.T) {
		against(t, fake.New(t, 3), load.Config{Lie: load.NewestAsPast}, func(h *history.History) bool { return broken(h)[past].Broken > 0 })
	})
	t.Run("NodeGivesTheNewest", func(t *testing.T) {
		c := fake.New(t, 3)
		c.Nodes[1].Newest = true
		against(t, c, load.Config{}, func(h *history.History) bool { return broken(h)[past].Broken > 0 })
	})
	t.Run("DropChange", func(t *testing.T) {
		began := time.Now()
		_, h := against(t, fake.New(t, 3), load.Config{Lie: load.DropChange}, func(h *history.History) bool {
			return h.Len() > 300 && time.Since(began) > 3*time.Second
		})
		if report := h.CheckWatches(); len(report.Differ) == 0 {
			t.Errorf("got %+v", report)
		}
	})
	t.Run("NodeHidesAChange", func(t *testing.T) {
		c := fake.New(t, 3)
		var hidden atomic.Int64
		c.Nodes[1].Hide = func(string) bool { return hidden.Add(1) == 50 }
		_, h := against(t, c, load.Config{}, func(h *history.History) bool { return h.Len() > 300 && hidden.Load() > 100 })
		if report := h.CheckWatches(); len(report.Differ) == 0 {
			t.Errorf("got %+v", report)
		}
	})
	t.Run("NoLie", func(t *testing.T) {
		_, h := against(t, fake.New(t, 3), load.Config{}, operations(1000))
		r := h.CheckWatches()
		if found := slices.Concat(r.Alone, r.Differ, r.Acked, r.States, r.Past); len(found) > 0 {
			t.Errorf("found %q", found)
		}
		if r.AckedCompared == 0 || r.StatesCompared == 0 || r.PastCompared == 0 || len(r.Empty) > 0 {
			t.Errorf("got %+v", r)
		}
	})
}

// TestLoad_Keyed loses answers of additions with idempotency keys. Those that are sent again with
// their keys count once, so that the counters are exact. It is found if they are sent without.
func TestLoad_Keyed(t *testing.T) {
	for lie, honest := range map[load.Lie]bool{load.Honest: true, load.ForgottenKey: false} {
		t.Run(string("Lie="+lie), func(t *testing.T) {
			c := fake.New(t, 3)
			var lost atomic.Int64
			for _, n := range c.Nodes {
				n.Swallow = func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/c/once-") && lost.Add(1)%5 == 0 }
			}
			_, h := against(t, c, load.Config{Lie: lie}, func(h *history.History) bool { return lost.Load() > 100 })
			report := h.CheckCounters(func(key string) int64 { return c.Number(key) })
			if (len(report.Failures) == 0) != honest || report.Unknown != 0 {
				t.Errorf("got %+v", report)
			}
			if found := broken(h); len(found) > 0 && honest {
				t.Errorf("broken: %+v", found)
			}
		})
	}
}

// TestLoad_StopsWhereNobodyAnswers shows that clients of hanging hosts can be stopped.
func TestLoad_StopsWhereNobodyAnswers(t *testing.T) {
	c := fake.New(t, 1)
	asked := make(chan struct{}, 100)
	c.Nodes[0].Refuse = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		_, _ = io.Copy(io.Discard, r.Body) // only after this the server notices that the client disconnects
		<-r.Context().Done()
		return true
	}
	h := history.New("")
	l := load.Start(load.Config{Hosts: c.Hosts()}, h)
	<-asked
	l.Stop()
	if thin := l.Thin(); len(thin) != 5 {
		t.Errorf("got %+v", thin)
	}
	if _, ok := l.Acknowledged(time.Now().Add(-time.Minute)); ok {
		t.Error("a write was acknowledged")
	}
}
