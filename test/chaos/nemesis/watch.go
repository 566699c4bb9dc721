package nemesis

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/record"
)

const (
	// watchTick is the time between two questions to a node for its status.
	watchTick = 250 * time.Millisecond
	// watchTimeout is the maximum time of each question.
	watchTimeout = time.Second
)

// Watch asks all hosts for their status, a few times a second, until Stop. It records the
// leader of each term, and finds terms that decrease and terms with two leaders. Its
// methods are safe for concurrent use.
type Watch struct {
	began time.Time
	http  *http.Client
	stop  context.CancelFunc
	all   sync.WaitGroup

	mu         sync.Mutex
	views      map[lab.Host]*view  // guarded by mu
	led        map[uint64]lab.Host // guarded by mu; leader of each term, by two statuses of its own
	accused    map[uint64]bool     // guarded by mu; terms whose two leaders are violations already
	leaders    []record.Leader     // guarded by mu; the newest last
	leader     lab.Host            // guarded by mu; of the newest record, nil for none
	highest    uint64              // guarded by mu; the highest term that any node was in
	violations []record.Violation  // guarded by mu
}

// view is the newest status of a host.
type view struct {
	incarnation int        // number of times that its data was wiped
	status      *kv.Status // nil if it did not answer
	term        uint64     // the highest that this incarnation was in
	leads       uint64     // the term in which it said that it leads, 0 for none
}

// Observe starts to watch all hosts of a Lab, whether they run or not.
func Observe(hosts []lab.Host, began time.Time) *Watch { return observe(hosts, began, newClient()) }

// observe is Observe with the client that asks.
func observe(hosts []lab.Host, began time.Time, client *http.Client) *Watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &Watch{
		began: began, http: client, stop: stop,
		views: map[lab.Host]*view{}, led: map[uint64]lab.Host{}, accused: map[uint64]bool{},
	}
	for _, h := range hosts {
		w.views[h] = &view{}
	}
	for _, h := range hosts {
		w.all.Go(func() { w.watch(ctx, h) })
	}
	return w
}

// Stop ends the watch, and waits until it has ended.
func (w *Watch) Stop() {
	w.stop()
	w.all.Wait()
}

// watch asks one host until ctx ends.
func (w *Watch) watch(ctx context.Context, h lab.Host) {
	for {
		incarnation := w.incarnation(h)
		asked, cancel := context.WithTimeout(ctx, watchTimeout)
		s, err := status(asked, w.http, h)
		cancel()
		if err != nil {
			s = nil
		}
		w.hear(h, incarnation, s)
		if sleep(ctx, watchTick) != nil {
			return
		}
	}
}

func (w *Watch) incarnation(h lab.Host) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.views[h].incarnation
}

// Forget records that a host, whose process does not run, has lost its data. It may be in a
// lower term afterwards.
func (w *Watch) Forget(h lab.Host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.views[h] = &view{incarnation: w.views[h].incarnation + 1}
}

// hear handles the status of a host, nil for none. It ignores a status of an earlier
// incarnation.
func (w *Watch) hear(h lab.Host, incarnation int, s *kv.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.views[h]
	if v.incarnation != incarnation {
		return
	}
	v.status = s
	if s != nil && s.Term > 0 { // a node that is loading or joining has no term yet
		w.checkLocked(h, v, s)
		v.term, w.highest = max(v.term, s.Term), max(w.highest, s.Term)
	}
	w.noteLocked()
}

// checkLocked finds the violations that one status shows. A node reads its role and its
// term one after the other, so it certainly leads in a term only when two statuses say so.
func (w *Watch) checkLocked(h lab.Host, v *view, s *kv.Status) {
	if s.Term < v.term {
		w.violateLocked("the term of a node does not go back", fmt.Sprintf("%s was in term %d, and is in %d", h.Name(), v.term, s.Term))
	}
	if s.Role != "leader" {
		v.leads = 0
		return
	}
	if v.leads != s.Term {
		v.leads = s.Term
		return
	}
	other := w.led[s.Term]
	if other != nil && other != h && !w.accused[s.Term] {
		w.accused[s.Term] = true
		w.violateLocked("a term has one leader", fmt.Sprintf("%s and %s lead in term %d", other.Name(), h.Name(), s.Term))
	}
	w.led[s.Term] = h
}

func (w *Watch) violateLocked(promise, what string) {
	w.violations = append(w.violations, record.Violation{At: w.at(time.Now()), Promise: promise, What: what})
}

// at returns a moment as a record has it.
func (w *Watch) at(t time.Time) float64 { return t.Sub(w.began).Round(time.Millisecond).Seconds() }

// noteLocked records the leader, if it has changed: the one that most answers name, and of
// several the one with the higher term.
func (w *Watch) noteLocked() {
	type claim struct {
		leader string
		term   uint64
	}
	votes := map[claim]int{}
	var most claim
	for _, v := range w.views {
		if v.status == nil || v.status.Leader == nil {
			continue
		}
		c := claim{v.status.Leader.ID, v.status.Term}
		votes[c]++
		if n := votes[c] - votes[most]; most == (claim{}) || n > 0 || n == 0 && c.term > most.term {
			most = c
		}
	}
	w.leader = nil
	for h := range w.views {
		if h.Name() == most.leader {
			w.leader = h
		}
	}
	newest := record.Leader{At: w.at(time.Now()), Host: most.leader, Term: most.term}
	if n := len(w.leaders); n > 0 && w.leaders[n-1].Host == newest.Host && w.leaders[n-1].Term == newest.Term {
		return
	}
	w.leaders = append(w.leaders, newest)
}

// Leader returns the host that most nodes name as the leader. ok is false if none does.
func (w *Watch) Leader() (leader lab.Host, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leader, w.leader != nil
}

// Term returns the highest term in any status.
func (w *Watch) Term() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.highest
}

// Leaders returns the changes of leader and term so far, in order.
func (w *Watch) Leaders() []record.Leader {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.leaders)
}

// Violations returns the violations so far, in order.
func (w *Watch) Violations() []record.Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.violations)
}
