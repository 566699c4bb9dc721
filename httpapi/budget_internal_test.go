package httpapi

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestBodyMemory_Steps checks the sizes in which bodies get their memory.
func TestBodyMemory_Steps(t *testing.T) {
	const limit = 1 << 20
	for _, test := range []struct {
		want  int64 // -1 if it is not known
		steps []int64
	}{
		{0, []int64{0}},
		{1, []int64{1}},
		{60_000, []int64{60_000}},
		{smallBody, []int64{smallBody}},
		{smallBody + 1, []int64{16 << 10, 64 << 10, smallBody + 1}},
		{limit, []int64{16 << 10, 64 << 10, 256 << 10, limit}},
		{-1, []int64{16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, limit, limit + 1}},
	} {
		steps := []int64{bodyMemory(0, test.want, limit)}
		for last := steps[0]; last < test.want || (test.want < 0 && last <= limit); {
			last = bodyMemory(last, test.want, limit)
			steps = append(steps, last)
		}
		if !slices.Equal(steps, test.steps) {
			t.Errorf("a body of %d bytes: got %d, want %d", test.want, steps, test.steps)
		}
	}
}

// TestReadBody_Allocations checks that a small body is read into memory of its size,
// which is allocated once.
func TestReadBody_Allocations(t *testing.T) {
	const size = 60_000
	b := newBudget(1, 1<<20)
	src := bytes.NewReader(content)
	room := b.receive(1, size, func() {})
	defer room.release()
	n := testing.AllocsPerRun(100, func() {
		src.Reset(content)
		body, err := readBody(src, room, size, size, 1<<20)
		if err != nil || len(body) != size || cap(body) != size {
			t.Fatalf("got %d bytes in %d, %v", len(body), cap(body), err)
		}
	})
	if n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}

// content is a body.
var content = make([]byte, 60_000)

// TestBudget_ReceiveTakesAllOrNothing checks that the room for a request and for the first
// bytes of its body is taken together, and given back together.
func TestBudget_ReceiveTakesAllOrNothing(t *testing.T) {
	b := newBudget(2, 100)
	expect := func(when string, requests, coming int, bytes int64) {
		t.Helper()
		if r, n := b.inFlight(); r != requests || n != bytes || b.coming.Len() != coming {
			t.Errorf("%s: %d requests, %d bytes, %d bodies, want %d, %d, %d", when, r, n, b.coming.Len(), requests, bytes, coming)
		}
	}
	stop := func() { t.Error("a body that is not slow was cut off") }
	first := b.receive(1, 60, stop)
	if first == nil {
		t.Fatal("no room in an empty budget")
	}
	expect("one", 1, 1, 60)
	if b.receive(1, 41, stop) != nil {
		t.Error("too many bytes were taken")
	}
	expect("one and too many bytes", 1, 1, 60)
	second := b.receive(1, 40, stop)
	if second == nil {
		t.Fatal("no room for what fits")
	}
	if b.receive(1, 0, stop) != nil {
		t.Error("too many requests were taken")
	}
	expect("two", 2, 2, 100)
	if first.arrived() {
		t.Error("the first was cut off")
	}
	expect("one has arrived", 2, 1, 100)
	first.release()
	expect("one is released", 1, 1, 40)
	second.release()
	expect("all are released", 0, 0, 0)
}

// TestBudget_CutBodyDoesNotWait makes two slow bodies that need room cut each other off:
// the one that is cut off first fails at once, and the other gets its room.
func TestBudget_CutBodyDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(2, 100)
		stop := func() {} // neither is in a read
		first, second := b.receive(1, 60, stop), b.receive(1, 40, stop)
		time.Sleep(time.Minute) // both are slow
		began, took := time.Now(), make(chan bool)
		go func() {
			took <- first.reserve(40)
		}()
		synctest.Wait() // the first has cut off the second, and waits for its room
		if second.reserve(10) || !second.arrived() {
			t.Error("a body that was cut off got more room, or was not cut off")
		}
		second.release()
		if !<-took || first.arrived() {
			t.Error("the body that asked first got no room, or was cut off")
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("they waited %v for each other", waited)
		}
		first.release()
	})
}

// TestBudget_CutWhileItWaits cuts off a body that waits for room already.
func TestBudget_CutWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(3, 100)
		stop := func() {}
		first, second, third := b.receive(1, 30, stop), b.receive(1, 30, stop), b.receive(1, 40, stop)
		time.Sleep(time.Minute)
		began, took := time.Now(), make(chan bool)
		go func() {
			took <- second.reserve(20) // cuts off the first
		}()
		synctest.Wait()
		go func() {
			took <- third.reserve(60) // cuts off the second too
		}()
		synctest.Wait()
		if got := <-took; got || !second.arrived() {
			t.Errorf("the second got room: %v", got)
		}
		second.release()
		first.arrived()
		first.release()
		if !<-took {
			t.Error("the third got no room")
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("they waited %v", waited)
		}
		third.release()
	})
}

// TestBudget_Answers shows that answers take at most half of the bytes, and only what bodies
// leave; that a single one always has room; that one which is larger than expected is counted;
// and that they never take more than half from bodies.
func TestBudget_Answers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(10, 1000)
		expect := func(what string, taken, want bool) {
			t.Helper()
			if taken != want {
				t.Errorf("%s: taken %t, want %t", what, taken, want)
			}
		}
		expect("one that is too large", b.takeAnswer(2000), true)
		expect("another one beside it", b.takeAnswer(1), false)
		expect("nothing beside it", b.takeAnswer(0), true)
		expect("bodies beside it", b.take(1, 500, nil), true)
		expect("more bodies beside it", b.take(1, 1, nil), false)
		b.putAnswer(2000)
		expect("up to half", b.takeAnswer(400), true)
		expect("above half", b.takeAnswer(101), false)
		b.putAnswer(-200) // it is larger
		expect("beside the larger one", b.takeAnswer(1), false)
		b.putAnswer(500)
		expect("bodies in what is left", b.take(1, 400, nil), true)
		expect("what bodies have", b.takeAnswer(1), false)
		b.put(2, 900)
		expect("what they have given back", b.takeAnswer(1), true)

		waited := make(chan bool)
		go func() { waited <- b.takeAnswer(400) }()
		synctest.Wait()
		b.putAnswer(101)
		expect("what an answer gives back", <-waited, true)
		b.putAnswer(400)
		if requests, bytes := b.inFlight(); requests != 0 || bytes != 0 {
			t.Errorf("%d requests and %d bytes are left", requests, bytes)
		}
	})
}
