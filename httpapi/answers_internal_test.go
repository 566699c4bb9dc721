package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestAnswers_StopFindsAll checks that stop limits answers in any place of any list, also
// those that are added after it, and no removed ones.
func TestAnswers_StopFindsAll(t *testing.T) {
	var a answers
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	all := make([]*response, 300)
	for i := range all {
		all[i] = newResponse(httptest.NewRecorder(), request, newConnLimit(1), time.Second)
		a.add(all[i])
	}
	for i := 0; i < len(all); i += 3 {
		a.remove(all[i])
	}
	a.stop()
	for i, w := range all {
		if got, want := w.stopping, i%3 != 0; got != want {
			t.Errorf("answer %d: bounded %v, want %v", i, got, want)
		}
		if i%3 != 0 {
			a.remove(w)
		}
	}
	for i := range a {
		if a[i].first != nil {
			t.Errorf("list %d is not empty", i)
		}
	}
	late := all[0]
	if a.add(late); !late.stopping {
		t.Error("an answer that is begun after the stop has no bound")
	}
	if n := testing.AllocsPerRun(100, func() { a.remove(late); a.add(late) }); n > 0 {
		t.Errorf("%v allocations for an answer, want none", n)
	}
}
