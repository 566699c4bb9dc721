package versus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// fakeLab is a Lab of three HTTP servers with Kvorum's API. The first healthy one leads. It
// records all calls.
type fakeLab struct {
	lab.Lab
	hosts []lab.Host
	exits chan lab.Exit
	// refuse is the name of a method that fails.
	refuse string

	mu   sync.Mutex
	done []string        // guarded by mu; such as "kill n1"
	ill  map[string]bool // guarded by mu; hosts that do not serve
}

// fakeHost is a host of a fakeLab.
type fakeHost struct {
	lab.Host
	lab  *fakeLab
	name string
	url  string
}

var errRefused = errors.New("refused here")

func newFakeLab(t *testing.T) *fakeLab {
	t.Helper()
	l := &fakeLab{ill: map[string]bool{}, exits: make(chan lab.Exit, 1)}
	for i := range nodes {
		h := &fakeHost{lab: l, name: fmt.Sprintf("n%d", i+1)}
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		h.url = server.URL
		l.hosts = append(l.hosts, h)
	}
	return l
}

func (l *fakeLab) Hosts() []lab.Host       { return l.hosts }
func (l *fakeLab) Exits() <-chan lab.Exit  { return l.exits }
func (l *fakeLab) Close() error            { return nil }
func (l *fakeLab) well(name string) bool   { return !l.ill[name] }
func (l *fakeLab) leadsLocked() (n string) { return l.first(l.well) }

func (l *fakeLab) first(is func(string) bool) string {
	for _, h := range l.hosts {
		if is(h.Name()) {
			return h.Name()
		}
	}
	return ""
}

// note records a call, and changes which hosts are ill.
func (l *fakeLab) note(change func(), what string, args ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := fmt.Sprintf(what, args...)
	l.done = append(l.done, text)
	if name, _, _ := strings.Cut(text, " "); name == l.refuse {
		return errRefused
	}
	change()
	return nil
}

func (l *fakeLab) Cut(_ context.Context, from, to lab.Host) error {
	// Only the host that is cut off from all others is ill.
	return l.note(func() { l.ill[from.Name()] = l.cuts(from.Name()) == nodes-1 }, "cut %s %s", from.Name(), to.Name())
}

// cuts returns the number of other hosts from which a host is cut off. l.mu is held.
func (l *fakeLab) cuts(name string) int {
	others := map[string]bool{}
	for _, d := range l.done {
		if to, ok := strings.CutPrefix(d, "cut "+name+" "); ok {
			others[to] = true
		}
	}
	return len(others)
}

func (l *fakeLab) Shape(_ context.Context, from, to lab.Host, how lab.Shape) error {
	return l.note(func() {}, "lose %s %s %g", from.Name(), to.Name(), how.Loss)
}

func (l *fakeLab) Heal(context.Context) error { return l.note(func() { clear(l.ill) }, "heal") }

func (h *fakeHost) Name() string { return h.name }
func (h *fakeHost) URL() string  { return h.url }

// falls makes a host ill, and rises makes it healthy.
func (h *fakeHost) falls() { h.lab.ill[h.name] = true }
func (h *fakeHost) rises() { delete(h.lab.ill, h.name) }

func (h *fakeHost) Start(context.Context) error  { return h.lab.note(h.rises, "start %s", h.name) }
func (h *fakeHost) Kill(context.Context) error   { return h.lab.note(h.falls, "kill %s", h.name) }
func (h *fakeHost) Pause(context.Context) error  { return h.lab.note(h.falls, "pause %s", h.name) }
func (h *fakeHost) Resume(context.Context) error { return h.lab.note(h.rises, "resume %s", h.name) }

// ServeHTTP answers as a node of Kvorum does.
func (h *fakeHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	role := "follower"
	switch {
	case h.lab.ill[h.name]:
		http.Error(w, "no leader", http.StatusServiceUnavailable)
		return
	case r.Method == http.MethodPut:
		w.WriteHeader(http.StatusOK)
		return
	case h.lab.leadsLocked() == h.name:
		role = "leader"
	}
	fmt.Fprintf(w, `{"role":%q}`, role)
}

// took returns the calls so far, and forgets them.
func (l *fakeLab) took() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := slices.Clone(l.done)
	l.done = nil
	return done
}
