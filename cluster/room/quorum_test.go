package room_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/kv"
)

// ampleDisk returns a disk that admits everything.
func ampleDisk() *room.Disk {
	return room.NewDisk(func() (room.Facts, error) { return room.Facts{}, nil })
}

// votersWith returns voters that have so many bytes for puts each, and twice as many for
// the rest.
func votersWith(self bool, puts ...int64) *fakeVoters {
	v := &fakeVoters{self: self, reports: make(map[raft.ServerID]room.Report)}
	for i, n := range puts {
		id := raft.ServerID(fmt.Sprintf("n%d.x", i+2))
		v.ids = append(v.ids, id)
		v.reports[id] = room.Report{Disk: &room.DiskRoom{Put: n, Rest: 2 * n}}
	}
	return v
}

// openQuorum returns what a leader on an ample disk knows of voters.
func openQuorum(t *testing.T, v *fakeVoters) (*room.Disk, *room.Quorum) {
	t.Helper()
	t.Cleanup(v.running.Wait)
	d := ampleDisk()
	q := room.NewQuorum(d, room.NewMemory(room.MemoryPlan{}, 0, emptyState(), room.GoHeap{}), v)
	q.Forget()
	return d, q
}

// wantLimit fails unless just so many bytes may be admitted.
func wantLimit(t *testing.T, name string, d *room.Disk, q *room.Quorum, put bool, want int64) {
	t.Helper()
	if err := d.Admit(want-d.Admitted(), put); err != nil {
		t.Fatal(err)
	}
	if err := q.Admit(t.Context(), put); err != nil {
		t.Errorf("%s: with %d bytes admitted: %v", name, want, err)
	}
	if err := d.Admit(1, put); err != nil {
		t.Fatal(err)
	}
	if err := q.Admit(t.Context(), put); !errors.Is(err, kv.ErrDiskFull) {
		t.Errorf("%s: with a byte more than %d: got %v", name, want, err)
	}
}

// TestQuorum_LeastOfMajority: a write needs the follower with the least room among the
// fewest that make a majority with the leader.
func TestQuorum_LeastOfMajority(t *testing.T) {
	for name, tt := range map[string]struct {
		self bool
		puts []int64
		want int64
	}{
		"OneOfTwo":        {true, []int64{5, 50}, 50},
		"TwoOfFour":       {true, []int64{5, 50, 7, 1}, 7},
		"OneOfOne":        {true, []int64{5}, 5},
		"TwoOfTwoOthers":  {false, []int64{50, 1}, 1},
		"ThreeOfFour":     {false, []int64{5, 50, 7, 1}, 5},
		"ThreeOfFiveEach": {true, []int64{9, 9, 9, 9, 9}, 9},
	} {
		d, q := openQuorum(t, votersWith(tt.self, tt.puts...))
		wantLimit(t, name, d, q, true, tt.want)
		d, q = openQuorum(t, votersWith(tt.self, tt.puts...))
		wantLimit(t, name+", the rest", d, q, false, 2*tt.want)
	}
}

// TestQuorum_LacksCount: what a follower lacks of the leader's log takes its room, that of
// puts twice.
func TestQuorum_LacksCount(t *testing.T) {
	v := votersWith(true, 1000, 1000)
	v.lacks = 100
	d, q := openQuorum(t, v)
	wantLimit(t, "puts", d, q, true, 800)
	d, q = openQuorum(t, v)
	wantLimit(t, "the rest", d, q, false, 1900)
}

// TestQuorum_ToldOnlyLow: a voter may say that its disk is low and no more. It then has
// room for deletes.
func TestQuorum_ToldOnlyLow(t *testing.T) {
	v := votersWith(true, 0)
	v.reports[v.ids[0]] = room.Report{LowDisk: true}
	d, q := openQuorum(t, v)
	if err := d.Admit(1, true); err != nil {
		t.Fatal(err)
	}
	if err := q.Admit(t.Context(), true); !errors.Is(err, kv.ErrDiskFull) || !strings.Contains(err.Error(), "n2 has room for 0 bytes of puts") {
		t.Errorf("a put: got %v", err)
	}
	if err := q.Admit(t.Context(), false); err != nil {
		t.Errorf("a delete: %v", err)
	}
}

// TestQuorum_SilentVoters: where too few answer to know, nothing is refused. One that
// was heard of a moment ago counts as one with room.
func TestQuorum_SilentVoters(t *testing.T) {
	v := votersWith(true, 5, 50, 7, 1)
	for _, id := range v.ids[1:] {
		delete(v.reports, id)
	}
	d, q := openQuorum(t, v)
	if err := d.Admit(1000, true); err != nil {
		t.Fatal(err)
	}
	if err := q.Admit(t.Context(), true); err != nil {
		t.Errorf("with one of four that answers: %v", err)
	}

	v = votersWith(true, 5, 50, 7, 1)
	delete(v.reports, v.ids[1])
	v.heardOf = []raft.ServerID{v.ids[1], "stranger.x"}
	d, q = openQuorum(t, v)
	wantLimit(t, "with a busy voter", d, q, true, 7)
}

// TestQuorum_TellsMemory: the memory hears what the voters report of theirs. A voter that
// falls silent, or votes no more, holds no puts up.
func TestQuorum_TellsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := votersWith(true, mib, mib)
		v.reports["n2.x"] = room.Report{Memory: &room.MemoryRoom{Data: 1 << 20, Low: true}}
		m := room.NewMemory(smallPlan(1<<30), 0, emptyState(), new(fakeHeap))
		q := room.NewQuorum(ampleDisk(), m, v)
		ask := func() error {
			time.Sleep(room.AskPause)
			q.Ask(t.Context())
			v.running.Wait()
			return m.Admit(encode(kv.Put("k", nil)))
		}
		if err := ask(); !errors.Is(err, kv.ErrMemoryFull) || !strings.Contains(err.Error(), "n2") {
			t.Errorf("with a voter that has too much in use: got %v", err)
		}
		low := v.reports["n2.x"]
		delete(v.reports, "n2.x")
		if err := ask(); err != nil || m.Status().DataLimit != 1<<20 {
			t.Errorf("once it is silent: %v, and room for %d", err, m.Status().DataLimit)
		}
		v.reports["n2.x"] = low
		if err := ask(); !errors.Is(err, kv.ErrMemoryFull) {
			t.Errorf("once it answers: got %v", err)
		}
		v.reports["n2.x"] = room.Report{}
		if err := ask(); err != nil || m.Status().DataLimit != 1<<30 {
			t.Errorf("once it has no plan: %v, and room for %d", err, m.Status().DataLimit)
		}
		v.reports["n2.x"] = low
		_ = ask() // its error is that of the first
		v.ids = v.ids[1:]
		if err := ask(); err != nil || m.Status().DataLimit != 1<<30 {
			t.Errorf("once it is no voter: %v, and room for %d", err, m.Status().DataLimit)
		}
	})
}

// TestQuorum_AsksSeldom: a limit that is reached is not asked for again at once, unless
// the term is another one.
func TestQuorum_AsksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := votersWith(true, 5, 50)
		d, q := openQuorum(t, v)
		wantLimit(t, "at first", d, q, true, 50)
		for range 10 {
			if err := q.Admit(t.Context(), true); !errors.Is(err, kv.ErrDiskFull) {
				t.Errorf("got %v, want %v", err, kv.ErrDiskFull)
			}
		}
		v.running.Wait()
		if n := v.asked.Load(); n != 2 {
			t.Errorf("2 voters were asked %d times", n)
		}
		q.Forget()
		_ = q.Admit(t.Context(), true) // its error is that of the others
		v.running.Wait()
		if n := v.asked.Load(); n != 4 {
			t.Errorf("2 voters were asked %d times with those of a new term", n)
		}
		d.Release(51)
		time.Sleep(room.AskPause)
		if err := q.Admit(t.Context(), true); err != nil {
			t.Errorf("once what was admitted is written: %v", err)
		}
	})
}

// TestQuorum_Short: the room of the voters that a put needs is little, or is not known.
func TestQuorum_Short(t *testing.T) {
	for name, tt := range map[string]struct {
		puts []int64
		want bool
	}{
		"Enough":   {[]int64{8 * mib, 8 * mib}, false},
		"OneOfTwo": {[]int64{0, 8 * mib}, false},
		"Both":     {[]int64{8*mib - 1, 8*mib - 1}, true},
		"OfOne":    {[]int64{8*mib - 1}, true},
	} {
		_, q := openQuorum(t, votersWith(true, tt.puts...))
		if q.Short() {
			t.Errorf("%s: short before there are reports", name)
		}
		q.Ask(t.Context())
		if got := q.Short(); got != tt.want {
			t.Errorf("%s: got %t, want %t", name, got, tt.want)
		}
	}
}
