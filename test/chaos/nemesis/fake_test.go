package nemesis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
)

// errFake is the error of a fakeLab's call that must fail.
var errFake = errors.New("fake")

// fakeLab is a Lab of hosts that answer like nodes of a cluster. All of it is in this
// process.
type fakeLab struct {
	hosts   []*fakeHost
	initial int
	exits   chan lab.Exit

	mu      sync.Mutex
	calls   int                  // guarded by mu; number of calls that can fail
	failAt  int                  // guarded by mu; the call that fails, counted from 1; 0 is none
	onFail  func()               // guarded by mu; called when that call fails; may be nil
	cuts    map[[2]lab.Host]bool // guarded by mu
	shaped  bool                 // guarded by mu
	members map[string]bool      // guarded by mu; voters of the cluster
	index   uint64               // guarded by mu; of the newest entry
	term    uint64               // guarded by mu
	leader  *fakeHost            // guarded by mu
}

// fakeHost is one host of a fakeLab. Its fields are guarded by the Lab's mu.
type fakeHost struct {
	lab     *fakeLab
	name    string
	running bool
	paused  bool
	first   uint64 // of its log

	full, traced bool
	unplugged    bool
	memory       int64
	files        uint64
	skew         time.Duration
}

func newFakeLab(nodes, spare int) *fakeLab {
	l := &fakeLab{initial: nodes, exits: make(chan lab.Exit, 100), cuts: map[[2]lab.Host]bool{}, members: map[string]bool{}, term: 1, index: 1}
	for i := range nodes + spare {
		h := &fakeHost{lab: l, name: fmt.Sprintf("n%d", i+1), running: i < nodes, first: 1}
		l.hosts = append(l.hosts, h)
		if i < nodes {
			l.members[h.name] = true
		}
	}
	l.leader = l.hosts[0]
	return l
}

// client returns an HTTP client whose requests the hosts answer.
func (l *fakeLab) client() *http.Client { return &http.Client{Transport: l} }

// RoundTrip answers a request as the node that it is sent to would.
func (l *fakeLab) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	time.Sleep(time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		if h.URL() == "http://"+r.URL.Host {
			if !h.running || h.paused {
				return nil, fmt.Errorf("%s: connection refused", h.name)
			}
			return h.answerLocked(r), nil
		}
	}
	return nil, fmt.Errorf("no host %s", r.URL.Host)
}

// answerLocked answers one request.
func (h *fakeHost) answerLocked(r *http.Request) *http.Response {
	l := h.lab
	l.electLocked()
	switch {
	case r.URL.Path == "/status":
		body, _ := json.Marshal(h.statusLocked())
		return answer(http.StatusOK, body)
	case strings.HasPrefix(r.URL.Path, "/kv/") && l.leader != nil:
		l.index += 100
		return answer(http.StatusNoContent, nil)
	case r.URL.Path == "/admin/leave" && l.leader != nil:
		var body struct{ ID string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		if !l.members[body.ID] {
			return answer(http.StatusNotFound, nil)
		}
		delete(l.members, body.ID)
		return answer(http.StatusNoContent, nil)
	case r.URL.Path == "/admin/snapshot":
		h.first = l.index
		return answer(http.StatusOK, nil)
	case r.URL.Path == "/admin/transfer" && l.leader != nil:
		return answer(http.StatusNoContent, nil)
	}
	return answer(http.StatusServiceUnavailable, nil)
}

func answer(code int, body []byte) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
}

// electLocked makes the first running member the leader, if a majority runs, and adds the
// running hosts that are not members.
func (l *fakeLab) electLocked() {
	var up []*fakeHost
	for _, h := range l.hosts {
		if l.members[h.name] && h.running && !h.paused && len(l.cuts) == 0 {
			up = append(up, h)
		}
	}
	if 2*len(up) <= len(l.members) {
		l.leader = nil
		return
	}
	if l.leader != up[0] {
		l.leader = up[0]
		l.term++
	}
	for _, h := range l.hosts {
		if h.running {
			l.members[h.name] = true
		}
	}
}

func (h *fakeHost) statusLocked() *kv.Status {
	l := h.lab
	s := &kv.Status{ID: h.name, Role: "follower", Term: l.term, CommitIndex: l.index, Log: &kv.LogStatus{FirstIndex: h.first}}
	if l.leader != nil {
		s.Leader = &kv.Leader{ID: l.leader.name}
	}
	if l.leader == h {
		s.Role = "leader"
	}
	for name := range l.members {
		s.Members = append(s.Members, kv.Member{ID: name, Voter: true})
	}
	return s
}

// call carries out a call of the Lab or of a host, unless it is the one that fails.
func (l *fakeLab) call(ctx context.Context, do func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if l.calls != l.failAt {
		do()
		return nil
	}
	if l.onFail != nil {
		l.onFail()
		do()
		return ctx.Err()
	}
	return errFake
}

// dirt returns the differences to the initial state.
func (l *fakeLab) dirt(t *testing.T) (left []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.cuts) > 0 || l.shaped {
		left = append(left, "a network that is not healed")
	}
	for i, h := range l.hosts {
		if h.running != (i < l.initial) || h.paused || h.full || h.unplugged || h.traced || h.memory != 0 || h.files != 0 || h.skew != 0 {
			left = append(left, fmt.Sprintf("%+v", *h))
		}
		if l.members[h.name] && i >= l.initial {
			left = append(left, h.name+" is a member")
		}
	}
	return left
}

func (l *fakeLab) Kind() string           { return "fake" }
func (l *fakeLab) Initial() int           { return l.initial }
func (l *fakeLab) CutsOneWay() bool       { return true }
func (l *fakeLab) Exits() <-chan lab.Exit { return l.exits }
func (l *fakeLab) Close() error           { return nil }
func (l *fakeLab) Heal(ctx context.Context) error {
	return l.call(ctx, func() { clear(l.cuts); l.shaped = false })
}

func (l *fakeLab) Hosts() (hosts []lab.Host) {
	for _, h := range l.hosts {
		hosts = append(hosts, h)
	}
	return hosts
}

func (l *fakeLab) Cut(ctx context.Context, from, to lab.Host) error {
	return l.call(ctx, func() { l.cuts[[2]lab.Host{from, to}] = true })
}

func (l *fakeLab) Shape(ctx context.Context, from, to lab.Host, how lab.Shape) error {
	return l.call(ctx, func() { l.shaped = true })
}

func (h *fakeHost) Name() string   { return h.name }
func (h *fakeHost) URL() string    { return "http://127.0.0.1:" + strings.TrimPrefix(h.name, "n") }
func (h *fakeHost) Log(int) string { return "" }

func (h *fakeHost) Running() bool {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.running
}

func (h *fakeHost) Start(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.running = true })
}

func (h *fakeHost) Kill(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.running, h.paused, h.traced = false, false, false })
}
func (h *fakeHost) Stop(ctx context.Context) error      { return h.Kill(ctx) }
func (h *fakeHost) LosePower(ctx context.Context) error { return h.Kill(ctx) }
func (h *fakeHost) Pause(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.paused = true })
}
func (h *fakeHost) Resume(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.paused = false })
}
func (h *fakeHost) Wipe(ctx context.Context) error      { return h.lab.call(ctx, func() {}) }
func (h *fakeHost) Readdress(ctx context.Context) error { return h.lab.call(ctx, func() {}) }
func (h *fakeHost) Unplug(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.unplugged = true })
}
func (h *fakeHost) Plug(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.unplugged = false })
}
func (h *fakeHost) EmptyDisk(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.full = false })
}

func (h *fakeHost) FillDisk(ctx context.Context, left int64) error {
	return h.lab.call(ctx, func() { h.full = true })
}

func (h *fakeHost) FailSyscalls(ctx context.Context, how lab.SyscallFault) error {
	return h.lab.call(ctx, func() { h.traced = true })
}

func (h *fakeHost) MendSyscalls(ctx context.Context) error {
	return h.lab.call(ctx, func() { h.traced = false })
}

func (h *fakeHost) LimitMemory(ctx context.Context, bytes int64) error {
	return h.lab.call(ctx, func() {
		if h.memory = bytes; bytes > 0 && bytes < 20<<20 {
			h.running = false
		}
	})
}

func (h *fakeHost) LimitFiles(ctx context.Context, files uint64) error {
	return h.lab.call(ctx, func() { h.files = files })
}

func (h *fakeHost) SkewClock(ctx context.Context, ahead time.Duration) error {
	return h.lab.call(ctx, func() { h.skew = ahead })
}

func (h *fakeHost) Resources() (lab.Resources, error) {
	return lab.Resources{Resident: 40 << 20, Descriptors: 30}, nil
}
