package room_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/room"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/kv"
)

// TestMemory_NewTerm shows that a node that leads again does not refuse puts for
// what a voter said in an earlier term.
func TestMemory_NewTerm(t *testing.T) {
	m := room.NewMemory(smallPlan(1<<30), 0, emptyState(), room.GoHeap{})
	put := encode(kv.Put("k", []byte("v")))
	m.Heard("n2.x", &room.MemoryRoom{Data: 1 << 20, Low: true})
	if err := m.Admit(put); !errors.Is(err, kv.ErrMemoryFull) {
		t.Fatalf("with a voter whose memory is full: got %v", err)
	}
	if s := m.Status(); !s.Full || !strings.Contains(s.Reason, "n2") {
		t.Errorf("status: got %+v, want that n2 is full", s)
	}
	m.Forget()
	if s := m.Status(); s.Full || s.DataLimit != 1<<20 {
		t.Errorf("status in a new term: got %+v, want room, and the limit of n2", s)
	}
	if err := m.Admit(put); err != nil {
		t.Errorf("in a new term: %v", err)
	}
	large := encode(kv.Put("k", make([]byte, 1<<20)))
	if err := m.Admit(large); !errors.Is(err, kv.ErrMemoryFull) || !strings.Contains(err.Error(), "n2") {
		t.Errorf("more than n2 has room for: got %v", err)
	}
}

// TestMemory_SilentVoter shows that a voter that does not answer holds no puts up because
// of what it had in use, and that its room for data still counts.
func TestMemory_SilentVoter(t *testing.T) {
	m := room.NewMemory(smallPlan(1<<30), 0, emptyState(), room.GoHeap{})
	put := encode(kv.Put("k", []byte("v")))
	m.Heard("n2.x", &room.MemoryRoom{Data: 1 << 20, Low: true})
	if err := m.Admit(put); !errors.Is(err, kv.ErrMemoryFull) {
		t.Fatalf("with a voter whose memory is full: got %v", err)
	}
	m.Silent("n2.x")
	if err := m.Admit(put); err != nil {
		t.Errorf("once it is silent: %v", err)
	}
	if s := m.Status(); s.Full || s.DataLimit != 1<<20 {
		t.Errorf("status: got %+v, want room, and the limit of n2", s)
	}
}

// TestMemory_OldRefusal shows that the status of a node does not show a refusal
// for ever where nothing is put any more.
func TestMemory_OldRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := room.NewMemory(room.MemoryPlan{}, 1000, emptyState(), room.GoHeap{})
		if err := m.Admit(encode(kv.Put("k", make([]byte, 1000)))); !errors.Is(err, kv.ErrDataLimit) {
			t.Fatalf("got %v, want %v", err, kv.ErrDataLimit)
		}
		if !m.Status().Full {
			t.Error("a put was refused a moment ago, and the status does not say so")
		}
		time.Sleep(10 * time.Second)
		if s := m.Status(); s.Full {
			t.Errorf("long after the refusal: got %+v", s)
		}
	})
}

// TestMemory_Live shows that puts are refused while too much is live though the
// data is small, and that they are taken again when a collection finds less.
func TestMemory_Live(t *testing.T) {
	heap := new(fakeHeap)
	plan := smallPlan(1 << 40)
	m := room.NewMemory(plan, 0, emptyState(), heap)
	put := encode(kv.Put("k", make([]byte, 1000)))
	heap.collected(plan.Heap / 2)
	m.Observe()
	if err := m.Admit(put); err != nil {
		t.Fatalf("with room: %v", err)
	}
	heap.collected(plan.Heap)
	m.Observe()
	err := m.Admit(put)
	if refusal := new(room.Refusal); !errors.Is(err, kv.ErrMemoryFull) || !errors.As(err, &refusal) || !refusal.Grows(put) {
		t.Errorf("with too much live: got %v", err)
	}
	if err := m.Admit(encode(kv.Delete("k"))); err != nil {
		t.Errorf("a delete: %v", err)
	}
	if !m.Report().Low || !m.Low() || m.Live() != plan.Heap {
		t.Errorf("the leader is told %+v", m.Report())
	}
	heap.collected(plan.Heap * 83 / 100) // less than it takes to begin the refusal
	m.Observe()
	if err := m.Admit(put); !errors.Is(err, kv.ErrMemoryFull) {
		t.Errorf("with a little less live: got %v", err)
	}
	heap.live.Store(plan.Heap / 2)
	if !m.Collect() {
		t.Fatal("no collection was run")
	}
	if err := m.Admit(put); err != nil {
		t.Errorf("with little live: %v", err)
	}

	m.Heard("n2.x", &room.MemoryRoom{Data: 1 << 40, Low: true})
	if err := m.Admit(put); !errors.Is(err, kv.ErrMemoryFull) || !strings.Contains(err.Error(), "n2") {
		t.Errorf("with a voter whose memory is full: got %v", err)
	}
	m.Keep([]raft.ServerID{"n3.x"})
	if err := m.Admit(put); err != nil {
		t.Errorf("once that is no voter: %v", err)
	}
}

// TestRefusal_Grows shows which requests of a batch a refusal is about: those that make the
// data longer, and no delete. While too much is live, all puts are.
func TestRefusal_Grows(t *testing.T) {
	state := fsm.New(fsm.Config{})
	short, long := encode(kv.Put("k", make([]byte, 10))), encode(kv.Put("k", make([]byte, 100)))
	if err, _ := state.Apply(&raft.Log{Index: 1, Data: fsm.AppendEntry(nil, 1, long.Version, long.Count, long.Data)}).(error); err != nil {
		t.Fatal(err)
	}
	quota := room.NewMemory(room.MemoryPlan{}, 101, state, room.GoHeap{})
	live := room.NewMemory(room.MemoryPlan{Limit: 1 << 40, Heap: 1, Data: 1 << 40}, 0, state, room.GoHeap{})
	for name, tt := range map[string]struct {
		memory  *room.Memory
		refused bool // a put that makes nothing longer
	}{"Quota": {quota, false}, "Live": {live, true}} {
		other := encode(kv.Put("l", make([]byte, 100)))
		var refusal *room.Refusal
		if err := tt.memory.Admit(other); !errors.As(err, &refusal) {
			t.Errorf("%s: got %v, want a refusal", name, err)
			continue
		}
		if !refusal.Grows(other) || refusal.Grows(encode(kv.Delete("k"))) || refusal.Grows(short) != tt.refused {
			t.Errorf("%s: %v is about the wrong requests", name, refusal)
		}
	}
}

// TestMemory_CollectsBeforeRefusal has the admitted puts use up what the last collection
// left. A put then asks for another one, which finds that most of it is garbage.
func TestMemory_CollectsBeforeRefusal(t *testing.T) {
	heap := new(fakeHeap)
	plan := smallPlan(1 << 40)
	plan.Heap = 10 << 20
	m := room.NewMemory(plan, 0, emptyState(), heap)
	heap.collected(1 << 20)
	m.Observe()
	put := encode(kv.Put("k", make([]byte, 1<<20)))
	for i := range 7 { // 8.5 MiB may be live
		if err := m.Admit(put); err != nil {
			t.Fatalf("put %d: %v", i, err)
		}
	}
	if n := heap.collections.Load(); n != 1 {
		t.Errorf("%d collections while there was room", n)
	}
	if err := m.Admit(put); err != nil {
		t.Errorf("with little live: %v", err)
	}
	if n := heap.collections.Load(); n != 2 {
		t.Errorf("%d collections, want one more", n)
	}
}

// TestMemory_LargeWriteAlone shows that a batch which is too large for what may be live does
// not have later puts refused, which fit.
func TestMemory_LargeWriteAlone(t *testing.T) {
	heap := new(fakeHeap)
	plan := smallPlan(1 << 40)
	plan.Heap = 100 << 20
	m := room.NewMemory(plan, 0, emptyState(), heap)
	heap.collected(1 << 20)
	m.Observe()
	large := encode(kv.Put("k", nil))
	large.PutBytes = 1 << 30
	if err := m.Admit(large); !errors.Is(err, kv.ErrMemoryFull) {
		t.Errorf("1 GiB: got %v, want ErrMemoryFull", err)
	}
	if err := m.Admit(encode(kv.Put("k", make([]byte, 1<<20)))); err != nil {
		t.Errorf("1 MiB: got %v", err)
	}
	if m.Short() {
		t.Error("memory is short because of one large write")
	}
	large.Count = 1000
	if err := m.Admit(large); !errors.Is(err, kv.ErrMemoryFull) || !m.Short() {
		t.Errorf("1 GiB in 1,000 writes: got %v, short %v; small writes are refused", err, m.Short())
	}
}

// TestMemory_CollectsAside shows that no put waits for a collection while too much
// is live.
func TestMemory_CollectsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heap := new(fakeHeap)
		heap.live.Store(1 << 40) // which the first collection finds
		m := room.NewMemory(smallPlan(1<<40), 0, emptyState(), heap)
		put := encode(kv.Put("k", make([]byte, 1000)))
		m.Collect()
		for range 20 {
			if err := m.Admit(put); !errors.Is(err, kv.ErrMemoryFull) {
				t.Fatalf("with too much live: got %v", err)
			}
			time.Sleep(time.Second)
		}
		if n := heap.collections.Load(); n != 1 {
			t.Errorf("20 puts in 20 s waited for %d collections, want none but the first", n)
		}
		if !m.Collect() || m.Collect() {
			t.Error("a collection was not run, or two at once")
		}
	})
}

// TestGoHeap shows that the figures of this process are understood: whatever is live is
// too much for a tiny heap, and little for a great one.
func TestGoHeap(t *testing.T) {
	put := encode(kv.Put("k", make([]byte, 1000)))
	tiny := smallPlan(1 << 40)
	tiny.Heap = 1 << 10
	m := room.NewMemory(tiny, 0, emptyState(), room.GoHeap{})
	if err := m.Admit(put); !errors.Is(err, kv.ErrMemoryFull) {
		t.Errorf("on a tiny heap: got %v", err)
	}
	if !m.Collect() && !m.Low() || m.Live() < 1<<10 {
		t.Errorf("%d bytes are live", m.Live())
	}
	m = room.NewMemory(smallPlan(1<<40), 0, emptyState(), room.GoHeap{})
	if err := m.Admit(put); err != nil {
		t.Errorf("on a great heap: %v", err)
	}
	_, before := room.GoHeap{}.Live()
	room.GoHeap{}.Collect()
	if live, after := (room.GoHeap{}).Live(); after <= before || live <= 0 {
		t.Errorf("%d collections after %d, %d bytes live", after, before, live)
	}
}

// TestMemory_Replace shows that the data is what the state will hold while it is replaced,
// and whether a second state fits beside it.
func TestMemory_Replace(t *testing.T) {
	plan := smallPlan(100 * mib)
	plan.Heap = 100 * mib // of which 85 may be live, 16 of them beside the data
	m := room.NewMemory(plan, 0, emptyState(), new(fakeHeap))
	if data := m.Data(); data != (room.Data{}) {
		t.Errorf("at first: %+v", data)
	}
	coming := room.Data{Keys: 10, Bytes: 40 * mib}
	if !m.SecondStateFits(coming) {
		t.Error("40 MiB do not fit beside nothing")
	}
	m.Replace(coming)
	if data := m.Data(); data != coming || m.Status().Data != coming.Memory() {
		t.Errorf("meanwhile: %+v, want what comes", data)
	}
	if m.SecondStateFits(coming) {
		t.Error("two times 40 MiB fit")
	}
	m.Replaced()
	if data := m.Data(); data != (room.Data{}) {
		t.Errorf("afterwards: %+v", data)
	}
}
