package nemesis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
)

// schedule returns a Schedule of some faults in a fakeLab, and ends it with the test.
func schedule(t *testing.T, l *fakeLab, faults ...*Fault) *Schedule {
	t.Helper()
	watch := observe(l.Hosts(), time.Now(), l.client())
	c := NewCluster(l, watch, t.Logf)
	s := NewSchedule(Config{Cluster: c, Clients: allClients{}, Seed: 1, Faults: faults, AtOnce: 1})
	t.Cleanup(func() { c.Close(); watch.Stop() })
	synctest.Wait()
	return s
}

// allClients write once a second.
type allClients struct{}

func (allClients) Acknowledged(after time.Time) (time.Time, bool) {
	return after.Add(time.Second), true
}
func (allClients) LongestGap(from, to time.Time) time.Duration { return min(time.Second, to.Sub(from)) }

// short returns a fault without effect that lasts a tenth of a second.
func short(name string, start func(context.Context, *Act) error) *Fault {
	return &Fault{Name: name, Rows: []int{1}, takes: oneHost, lasts: span{100 * time.Millisecond, 100 * time.Millisecond}, terms: 1, start: start}
}

// filled returns the record of a schedule.
func filled(s *Schedule) *record.Run {
	run := &record.Run{}
	s.Fill(run)
	s.cluster.Fill(run)
	return run
}

// TestSchedule_Records shows the record of a fault that was made.
func TestSchedule_Records(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := schedule(t, newFakeLab(3, 0), short("one", func(ctx context.Context, a *Act) error {
			a.say("a detail")
			_, err := a.leader(ctx)
			return err
		}))
		if err := s.Run(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
		run := filled(s)
		if len(run.Faults) != 1 || len(run.Violations) != 0 || len(run.Uncovered) != 0 {
			t.Fatalf("record: %+v", run)
		}
		f := run.Faults[0]
		if !f.Done || f.Detail != "a detail" || !slices.Equal(f.Hosts, []string{"n1"}) || f.To-f.From < 0.1 || f.Served != 1 || f.Without != 1 {
			t.Errorf("fault: %+v", f)
		}
	})
}

// TestSchedule_NotMade shows that a fault that can't be made does not pass. It is tried
// again, unless it never can be made, and recorded as not done and as uncovered. A fault
// that is made later counts as made.
func TestSchedule_NotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[string]int{}
		never := short("never", func(context.Context, *Act) error {
			tries["never"]++
			return fmt.Errorf("%w: no such thing", lab.ErrNotCovered)
		})
		rarely := short("rarely", func(context.Context, *Act) error { tries["rarely"]++; return errNobody })
		later := short("later", func(context.Context, *Act) error {
			if tries["later"]++; tries["later"] < 2 {
				return errNobody
			}
			return nil
		})
		s := schedule(t, newFakeLab(3, 0), never, rarely, later)
		for range 3 + 3 {
			if err := s.Run(t.Context(), time.Nanosecond); err != nil {
				t.Fatal(err)
			}
		}
		if tries["never"] != 1 || tries["rarely"] != maxTries || tries["later"] != 2 {
			t.Errorf("tries: %v", tries)
		}
		run := filled(s)
		var uncovered []string
		for _, u := range run.Uncovered {
			uncovered = append(uncovered, u.What)
		}
		slices.Sort(uncovered)
		if !slices.Equal(uncovered, []string{"never", "rarely"}) {
			t.Errorf("uncovered: %+v", run.Uncovered)
		}
		for _, f := range run.Faults {
			if f.Done != (f.Name == "later") || f.Done != (f.Reason == "") {
				t.Errorf("fault: %+v", f)
			}
		}
		if gaps := run.Gaps(); len(gaps) < 2 {
			t.Errorf("gaps: %+v", gaps)
		}
	})
}

// TestSchedule_NeverWell shows that a cluster that accepts no writes after the heal is a
// violation, and ends the run.
func TestSchedule_NeverWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLab(3, 0)
		s := schedule(t, l, short("forgotten", func(ctx context.Context, a *Act) error {
			return l.hosts[2].Pause(ctx)
		}))
		if err := s.Run(t.Context(), time.Hour); err == nil {
			t.Error("a run whose cluster is never well again ends without an error")
		}
		if run := filled(s); len(run.Violations) != 1 || !strings.Contains(run.Violations[0].What, "n3") {
			t.Errorf("violations: %+v", run.Violations)
		}
	})
}

// TestSchedule_Interrupted shows that an interrupted run has healed its faults, and has no
// violations.
func TestSchedule_Interrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLab(3, 0)
		f := Find("pause one for long")
		s := schedule(t, l, f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Run(ctx, time.Hour); err != nil {
			t.Error(err)
		}
		if left := l.dirt(t); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if run := filled(s); len(run.Violations) > 0 || len(run.Faults) != 1 || !run.Faults[0].Done {
			t.Errorf("record: %+v", run)
		}
	})
}

// TestSchedule_Exits shows which ends of processes are violations: those that no fault of
// their host excuses.
func TestSchedule_Exits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLab(3, 0)
		broken := short("broken", func(ctx context.Context, a *Act) error {
			h, err := a.leader(ctx)
			if err != nil {
				return err
			}
			for _, e := range []lab.Exit{
				{Host: h, Code: 1, Log: "node stops\nerr: input/output error\n"},
				{Host: h, Code: -1, Signal: "killed", Asked: true},
				{Host: h, Code: 2, Log: "panic: input/output error\n"},
				{Host: h, Code: -1, Signal: "killed"},
				{Host: l.hosts[1], Code: 1, Log: "input/output error\n"},
			} {
				e.At = time.Now()
				l.exits <- e
			}
			return nil
		})
		broken.May = []string{"input/output error"}
		s := schedule(t, l, broken)
		if err := s.Run(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
		run := filled(s)
		if len(run.Exits) != 5 || len(run.Violations) != 3 {
			t.Fatalf("%d exits, want 5; %d violations, want 3: %+v", len(run.Exits), len(run.Violations), run.Violations)
		}
		if v := run.Violations[0]; v.Evidence == "" || string(run.Files[v.Evidence]) != "panic: input/output error\n" {
			t.Errorf("violation: %+v with %q", v, run.Files[v.Evidence])
		}
	})
}

// TestWatch_Finds shows which statuses of nodes are violations.
func TestWatch_Finds(t *testing.T) {
	l := newFakeLab(3, 0)
	says := func(role string, term uint64) *kv.Status {
		return &kv.Status{Role: role, Term: term, Leader: &kv.Leader{ID: "n1"}}
	}
	type word struct {
		host int
		s    *kv.Status
	}
	tests := []struct {
		name  string
		words []word
		want  string // part of the violation, "" for none
	}{
		{"Grows", []word{{0, says("leader", 1)}, {1, says("follower", 1)}, {0, says("leader", 2)}}, ""},
		{"GoesBack", []word{{0, says("follower", 3)}, {0, says("follower", 2)}}, "was in term 3, and is in 2"},
		{"LoadsInBetween", []word{{0, says("follower", 3)}, {0, nil}, {0, says("loading", 0)}, {0, says("follower", 3)}}, ""},
		{"TwoLeaders", []word{{0, says("leader", 2)}, {0, says("leader", 2)}, {1, says("leader", 2)}, {1, says("leader", 2)}}, "lead in term 2"},
		{"RoleBeforeTerm", []word{{0, says("leader", 2)}, {0, says("leader", 2)}, {1, says("leader", 2)}, {1, says("follower", 2)}}, ""},
		{"NextLeader", []word{{0, says("leader", 2)}, {0, says("leader", 2)}, {1, says("leader", 3)}, {1, says("leader", 3)}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := &Watch{began: time.Now(), views: map[lab.Host]*view{}, led: map[uint64]lab.Host{}, accused: map[uint64]bool{}}
			for _, h := range l.Hosts() {
				w.views[h] = &view{}
			}
			for _, word := range test.words {
				w.hear(l.Hosts()[word.host], 0, word.s)
			}
			v := w.Violations()
			if (len(v) > 0) != (test.want != "") || len(v) > 0 && !strings.Contains(v[0].What, test.want) {
				t.Errorf("violations: %+v, want %q", v, test.want)
			}
		})
	}
}

// TestWatch_Forget shows that a host that lost its data may be in a lower term, and that
// earlier answers of its process are ignored.
func TestWatch_Forget(t *testing.T) {
	l := newFakeLab(1, 0)
	h := l.Hosts()[0]
	w := &Watch{began: time.Now(), views: map[lab.Host]*view{h: {}}, led: map[uint64]lab.Host{}, accused: map[uint64]bool{}}
	w.hear(h, 0, &kv.Status{Role: "follower", Term: 5})
	w.Forget(h)
	w.hear(h, 0, &kv.Status{Role: "follower", Term: 5})
	w.hear(h, 1, &kv.Status{Role: "follower", Term: 1})
	if v := w.Violations(); len(v) > 0 {
		t.Errorf("violations: %+v", v)
	}
}

// TestWatch_Leader shows that the leader is the one that most nodes name.
func TestWatch_Leader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newFakeLab(3, 0)
		w := observe(l.Hosts(), time.Now(), l.client())
		defer w.Stop()
		time.Sleep(2 * watchTick)
		if h, ok := w.Leader(); !ok || h.Name() != "n1" {
			t.Errorf("leader: %v %v, want n1", h, ok)
		}
		if err := l.hosts[0].Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * watchTick)
		if h, ok := w.Leader(); !ok || h.Name() != "n2" {
			t.Errorf("leader: %v %v, want n2", h, ok)
		}
		if leaders := w.Leaders(); leaders[len(leaders)-1].Host != "n2" || leaders[len(leaders)-1].Term != 2 {
			t.Errorf("leaders: %+v", leaders)
		}
	})
}
