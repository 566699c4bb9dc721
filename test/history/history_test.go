package history_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/history"
)

// recorder fills a history with operations on one key.
type recorder struct {
	h    *history.History
	open map[string]history.Call // calls that have not returned, by the value they write
}

func newRecorder() *recorder {
	return &recorder{h: history.New(""), open: map[string]history.Call{}}
}

func (r *recorder) add(in history.Input, out history.Output) {
	in.Key = "k"
	r.h.Add(1, in, out, r.h.Call())
}

func (r *recorder) get(value string) {
	r.add(history.Input{Kind: history.Get}, history.Output{Value: value})
}

func (r *recorder) put(value string, created bool) {
	r.add(history.Input{Kind: history.Put, Value: value}, history.Output{Done: created})
}

func (r *recorder) putUnknown(value string) {
	r.add(history.Input{Kind: history.Put, Value: value}, history.Output{Unknown: true})
}

func (r *recorder) del(found bool) {
	r.add(history.Input{Kind: history.Delete}, history.Output{Done: found})
}

func (r *recorder) delUnknown() {
	r.add(history.Input{Kind: history.Delete}, history.Output{Unknown: true})
}

func (r *recorder) swap(value, expect string, done bool) {
	r.add(history.Input{Kind: history.Swap, Value: value, Expect: expect}, history.Output{Done: done})
}

// call begins a put; returned ends it.
func (r *recorder) call(value string) { r.open[value] = r.h.Call() }

func (r *recorder) returned(value string, created bool) {
	r.h.Add(2, history.Input{Kind: history.Put, Key: "k", Value: value}, history.Output{Done: created}, r.open[value])
}

// TestHistory_Check shows which histories the checker accepts and which it refuses.
func TestHistory_Check(t *testing.T) {
	for name, tt := range map[string]struct {
		fill func(*recorder)
		want bool
	}{
		"OK":                {func(r *recorder) { r.put("a", true); r.get("a") }, true},
		"Stale":             {func(r *recorder) { r.put("a", true); r.put("b", false); r.get("a") }, false},
		"Lost":              {func(r *recorder) { r.put("a", true); r.get("") }, false},
		"LostAsCreatedAnew": {func(r *recorder) { r.put("a", true); r.put("b", true) }, false},
		"UnknownSeen":       {func(r *recorder) { r.putUnknown("a"); r.get("a") }, true},
		"UnknownNotSeen":    {func(r *recorder) { r.putUnknown("a"); r.get("") }, true},
		"UnknownSeenLate":   {func(r *recorder) { r.putUnknown("a"); r.put("b", true); r.get("b"); r.get("a") }, true},
		"SeenBeforeWritten": {func(r *recorder) { r.get("a"); r.putUnknown("a") }, false},
		"ComesBack": {func(r *recorder) {
			r.put("a", true)
			r.putUnknown("b")
			r.get("b")
			r.get("a")
		}, false},
		"SwapOfAnOldValue": {func(r *recorder) {
			r.put("a", true)
			r.put("b", false)
			r.swap("c", "a", true)
		}, false},
		"SwapFailsForNothing":  {func(r *recorder) { r.put("a", true); r.swap("c", "a", false) }, false},
		"DeleteFoundNothing":   {func(r *recorder) { r.put("a", true); r.del(false) }, false},
		"UnknownDelete":        {func(r *recorder) { r.put("a", true); r.delUnknown(); r.get("a"); r.get("") }, true},
		"UnknownDeleteIsOne":   {func(r *recorder) { r.delUnknown(); r.put("a", true); r.get(""); r.put("b", true); r.get("") }, false},
		"ExistsByAnUnseenPut":  {func(r *recorder) { r.putUnknown("a"); r.put("b", false); r.get("b") }, true},
		"ExistsByNothing":      {func(r *recorder) { r.put("b", false); r.putUnknown("a") }, false},
		"SeenWhileUnderWay":    {func(r *recorder) { r.call("a"); r.get(""); r.get("a"); r.returned("a", true) }, true},
		"GoesWhileUnderWay":    {func(r *recorder) { r.call("a"); r.get("a"); r.get(""); r.returned("a", true) }, false},
		"NoneSeenAfterItEnded": {func(r *recorder) { r.call("a"); r.get(""); r.returned("a", true); r.get("") }, false},
	} {
		r := newRecorder()
		tt.fill(r)
		report := r.h.Check(10 * time.Second)
		if got := len(report.Failures) == 0; got != tt.want || len(report.Undecided) != 0 {
			t.Errorf("%s: got linearizable %t, undecided %v, want %t", name, got, report.Undecided, tt.want)
		}
	}
}

// TestHistory_CheckCounts shows that a report has the numbers of keys and operations that
// were checked.
func TestHistory_CheckCounts(t *testing.T) {
	h := history.New("")
	for i := range 5 {
		in := history.Input{Kind: history.Put, Key: fmt.Sprint(i % 2), Value: fmt.Sprint(i)}
		h.Add(0, in, history.Output{Unknown: true}, h.Call())
	}
	if r := h.Check(time.Second); r.Keys != 2 || r.Operations != 5 || r.Unknown != 5 || h.Len() != 5 || len(h.Keys()) != 2 {
		t.Errorf("got %+v, %d operations, keys %v", r, h.Len(), h.Keys())
	}
}

// TestHistory_CheckExplains shows that a report names the key that fails, that the
// explanation ends at the failure, and that it can be drawn.
func TestHistory_CheckExplains(t *testing.T) {
	r := newRecorder()
	r.put("a", true)
	r.get("a")
	r.get("") // the failure
	for i := range 60 {
		r.put(fmt.Sprintf("later-%d", i), false)
	}
	r.h.Add(3, history.Input{Kind: history.Put, Key: "other", Value: "x"}, history.Output{Done: true}, r.h.Call())
	report := r.h.Check(10 * time.Second)
	if len(report.Failures) != 1 || report.Failures[0].Key != "k" {
		t.Fatalf("got %+v", report)
	}
	lines := strings.Split(strings.TrimSpace(report.Failures[0].Explain), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[2], `client 1: get ""`) {
		t.Errorf("the explanation is\n%s", report.Failures[0].Explain)
	}
	var picture bytes.Buffer
	if err := report.Failures[0].Draw(&picture); err != nil || !strings.Contains(picture.String(), "</html>") {
		t.Errorf("the picture has %d bytes: %v", picture.Len(), err)
	}
}

// cluster is one register and clients of it, whose answers are lost at random.
type cluster struct {
	rng   *rand.Rand
	value string
	next  int
	late  []string // values of lost puts that have not happened yet
}

// step does one operation and adds it to h.
func (c *cluster) step(h *history.History, client int, lost float64) {
	call := h.Call()
	if len(c.late) > 0 && c.rng.IntN(4) == 0 {
		c.value, c.late = c.late[0], c.late[1:]
	}
	in := history.Input{Key: "k", Kind: history.Kind(c.rng.IntN(3))}
	var out history.Output
	switch in.Kind {
	case history.Get:
		out.Value = c.value
	case history.Put:
		c.next++
		in.Value = fmt.Sprint(c.next)
		out.Done = c.value == ""
		if out.Unknown = c.rng.Float64() < lost; out.Unknown && c.rng.IntN(2) == 0 {
			c.late = append(c.late, in.Value)
			break
		}
		if !out.Unknown || c.rng.IntN(2) == 0 {
			c.value = in.Value
		}
	case history.Delete:
		out.Done = c.value != ""
		if out.Unknown = c.rng.Float64() < lost; !out.Unknown || c.rng.IntN(2) == 0 {
			c.value = ""
		}
	}
	h.Add(client, in, out, call)
}

// TestHistory_CheckManyOpen shows that a history with many open writes is decided. It has
// an order, and it has none after a read is added that sees a replaced value.
func TestHistory_CheckManyOpen(t *testing.T) {
	for seed := range uint64(2) {
		c := cluster{rng: rand.New(rand.NewPCG(seed, 0))}
		h := history.New("")
		for i := range 200 {
			c.step(h, i%6, 0.2)
		}
		report := h.Check(time.Minute)
		if len(report.Failures) != 0 || len(report.Undecided) != 0 || report.Unknown < 20 {
			t.Errorf("seed %d: got %+v", seed, report)
		}
		for _, v := range []string{"stale-1", "stale-2"} {
			h.Add(0, history.Input{Kind: history.Put, Key: "k", Value: v}, history.Output{Done: c.value == ""}, h.Call())
			c.value = v
		}
		h.Add(0, history.Input{Key: "k"}, history.Output{Value: "stale-1"}, h.Call())
		if report := h.Check(time.Minute); len(report.Failures) != 1 {
			t.Errorf("seed %d: a stale read was let through: %+v", seed, report)
		}
	}
}

// TestHistory_CheckUndecided shows that a key whose order can't be found within the limit,
// because it has too many open writes, is reported as undecided, and not as one that
// passed.
func TestHistory_CheckUndecided(t *testing.T) {
	r := newRecorder()
	for i := range 30 {
		r.putUnknown(fmt.Sprint(i))
	}
	for range 31 { // one more than there are puts
		r.del(true)
	}
	report := r.h.Check(time.Minute)
	if len(report.Failures) != 0 || len(report.Undecided) != 1 || report.Undecided[0] != "k" {
		t.Errorf("got %+v", report)
	}
}

// TestHistory_Saw shows that a write that happened twice, and one that was reported as
// not done and has happened, are found in either order.
func TestHistory_Saw(t *testing.T) {
	h := history.New("")
	if err := h.Saw("a", 3); err != nil {
		t.Errorf("first: %v", err)
	}
	if err := h.Saw("a", 3); err != nil {
		t.Errorf("the same: %v", err)
	}
	if err := h.Saw("a", 4); err == nil {
		t.Error("no error for a second revision")
	}
	if err := h.Refused("a"); err == nil {
		t.Error("no error for a value that was seen")
	}
	if err := h.Refused("b"); err != nil {
		t.Errorf("refused: %v", err)
	}
	if err := h.Saw("b", 5); err == nil {
		t.Error("no error for a value that was refused")
	}
}

// TestHistory_Promises shows that checked answers are counted, and that breaches are kept.
func TestHistory_Promises(t *testing.T) {
	h := history.New("")
	for range 30 {
		h.Looked("b")
		h.Looked("a")
		h.Broke("a", "revision %d", 7)
	}
	got := h.Promises()
	if len(got) != 2 || got[0].Name != "a" || got[0].Broken != 30 || len(got[0].Breaches) != 20 || got[0].Breaches[0].What != "revision 7" {
		t.Errorf("got %+v", got)
	}
	if len(got) == 2 && (got[1].Looked != 30 || got[1].Broken != 0) {
		t.Errorf("got %+v", got[1])
	}
}
