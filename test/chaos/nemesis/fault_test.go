package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// performIn performs a fault once in a fakeLab, in a bubble, and returns the number of
// calls of the Lab. Call number failAt fails or, with interrupt, ends the context.
func performIn(t *testing.T, f *Fault, seed uint64, failAt int, interrupt bool) (calls int, made error) {
	t.Helper()
	l := newFakeLab(3, 2)
	watch := observe(l.Hosts(), time.Now(), l.client())
	defer watch.Stop()
	c := NewCluster(l, watch, t.Logf)
	defer c.Close()
	s := NewSchedule(Config{Cluster: c, Clients: noClients{}, Seed: seed, Faults: []*Fault{f}, AtOnce: 1})
	synctest.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.mu.Lock()
	l.failAt = failAt
	if interrupt {
		l.onFail = cancel
	}
	l.mu.Unlock()
	step := s.plan.next()
	a := &Act{fault: f, c: s.cluster, rng: s.plan.rng}
	r := perform(ctx, a, step.lasts[0])
	l.mu.Lock()
	calls = l.calls
	l.failAt = 0
	l.mu.Unlock()
	if r.unhealed != nil && (failAt == 0 || r.err != nil) { // otherwise a call of the heal fails
		t.Errorf("%s, seed %d, call %d fails (%v): heal: %v", f.Name, seed, failAt, r.err, r.unhealed)
	}
	if left := l.dirt(t); r.unhealed == nil && len(left) > 0 {
		t.Errorf("%s, seed %d, call %d fails (%v): left after the heal: %v", f.Name, seed, failAt, r.err, left)
	}
	return calls, r.err
}

// noClients have no results.
type noClients struct{}

func (noClients) Acknowledged(time.Time) (time.Time, bool) { return time.Time{}, false }
func (noClients) LongestGap(_, _ time.Time) time.Duration  { return 0 }

// TestFaults_Heal shows that the heal of each fault restores everything, also if any call
// of the fault fails, and if the run is interrupted at any call.
func TestFaults_Heal(t *testing.T) {
	for _, f := range All() {
		t.Run(f.Name, func(t *testing.T) {
			for seed := range uint64(3) {
				var calls int
				synctest.Test(t, func(t *testing.T) {
					var err error
					if calls, err = performIn(t, f, seed, 0, false); err != nil {
						t.Errorf("not made: %v", err)
					}
				})
				for k := 1; k <= calls; k++ {
					for _, interrupt := range []bool{false, true} {
						synctest.Test(t, func(t *testing.T) { _, _ = performIn(t, f, seed, k, interrupt) })
					}
				}
			}
		})
	}
}

// TestFaults_TwoMembers makes each partition while another fault replaces a member, so that
// there are two. The partition is not made, or waits for the third member.
func TestFaults_TwoMembers(t *testing.T) {
	for _, f := range partitionFaults() {
		for _, comes := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				l := newFakeLab(3, 2)
				watch := observe(l.Hosts(), time.Now(), l.client())
				defer watch.Stop()
				c := NewCluster(l, watch, t.Logf)
				defer c.Close()
				leader, known := watch.Leader()
				for ; !known; leader, known = watch.Leader() {
					time.Sleep(time.Millisecond)
				}
				gone := c.Members()[0]
				if gone == leader {
					gone = c.Members()[1]
				}
				c.admit(gone, false)
				if comes {
					back := time.AfterFunc(pickTimeout/2, func() { c.admit(gone, true) })
					defer back.Stop()
				}
				a := &Act{fault: f, c: c, rng: rand.New(rand.NewPCG(1, 1))}
				r := perform(t.Context(), a, time.Second)
				if made := r.err == nil; made != comes || (!made && !errors.Is(r.err, errNobody)) || r.unhealed != nil {
					t.Errorf("%s, the third member comes %v: made: %v, healed: %v", f.Name, comes, r.err, r.unhealed)
				}
			})
		}
	}
}

// TestFault_With shows which faults are not made at once.
func TestFault_With(t *testing.T) {
	together := func(nodes int, names ...string) bool {
		var others []*Fault
		for _, name := range names {
			f := Find(name)
			if f == nil {
				t.Fatalf("no fault %q", name)
			}
			if !f.with(others, nodes) {
				return false
			}
			others = append(others, f)
		}
		return true
	}
	tests := []struct {
		nodes int
		names []string
		want  bool
	}{
		{3, []string{"kill a follower", "pause the leader"}, true},
		{3, []string{"kill a follower", "loss", "hand leadership over"}, true},
		{3, []string{"kill all", "cut a minority off"}, true},
		{3, []string{"kill all", "kill a follower"}, false},
		{3, []string{"kill a follower", "kill all"}, false},
		{3, []string{"kill all", "pause all"}, false},
		{3, []string{"kill a follower", "pause the leader", "fill a follower's disk"}, false},
		{5, []string{"kill a follower", "pause the leader", "fill a follower's disk"}, true},
		{3, []string{"loss", "delay"}, false},
		{3, []string{"wipe a disk", "grow by two and shrink"}, false},
		{3, []string{"wipe a disk", "replace a member"}, false},
		{3, []string{"wipe a disk", "power loss of all"}, false},
		{3, []string{"kill the leader", "kill the leader"}, false},
	}
	for _, test := range tests {
		if got := together(test.nodes, test.names...); got != test.want {
			t.Errorf("%v of %d nodes at once: %v, want %v", test.names, test.nodes, got, test.want)
		}
	}
}

// TestFaults_Sound shows that names are unique, and that each fault covers a row.
func TestFaults_Sound(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		if seen[f.Name] || f.Name == "" {
			t.Errorf("two faults are called %q", f.Name)
		}
		seen[f.Name] = true
		if len(f.Rows) == 0 {
			t.Errorf("%s covers no row", f.Name)
		}
		if Find(f.Name) == nil {
			t.Errorf("%s is not found", f.Name)
		}
	}
}

// TestPlan_OfSeed shows that equal seeds make equal plans, that different seeds make
// different plans, and that every fault occurs once before one occurs again.
func TestPlan_OfSeed(t *testing.T) {
	draw := func(seed uint64, faults []*Fault, steps int) (text []string) {
		p := newPlan(seed, faults, 3, 3)
		for range steps {
			s := p.next()
			text = append(text, fmt.Sprint(s, s.seed))
		}
		return text
	}
	all := All()
	if a, b := draw(7, all, 100), draw(7, all, 100); !slices.Equal(a, b) {
		t.Error("two plans of one seed differ")
	}
	if a, b := draw(7, all, 10), draw(8, all, 10); slices.Equal(a, b) {
		t.Error("the plans of two seeds are the same")
	}
	usual := slices.DeleteFunc(slices.Clone(all), func(f *Fault) bool { return f.long })
	for seed := range uint64(50) {
		p := newPlan(seed, usual, 3, 3)
		seen := map[*Fault]bool{}
		for len(seen) < len(usual) {
			s := p.next()
			for i, f := range s.faults {
				if seen[f] {
					t.Fatalf("seed %d: %s comes again after %d of %d faults", seed, f.Name, len(seen), len(usual))
				}
				seen[f] = true
				if !f.with(slices.Concat(s.faults[:i], s.faults[i+1:]), 3) {
					t.Fatalf("seed %d: %v at once", seed, s)
				}
			}
		}
	}
}
