package sim

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// tailLoss is the kind of loss of a log's end that a disk had synced.
type tailLoss int

const (
	nothingLost tailLoss = iota
	lostBelow            // bytes below the durable end: its node must not start
	lostBehind           // bytes behind the durable end: its leader tells its node
)

// shutdown stops the host's process as an operator does, and reports whether it stopped
// without an error.
func (h *host) shutdown() bool {
	_, p := h.live()
	if p == nil || p.opened() == nil {
		return false
	}
	p.mu.Lock()
	first := !p.shut
	p.shut = true
	p.mu.Unlock()
	if first {
		close(p.stop)
	}
	timer := time.NewTimer(healLimit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		h.w.violate("%s: shut down "+tooLate+" %v", h.name, healLimit)
	case <-h.w.broken:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clean
}

// logEnd describes the segment that the host, which must be held down, has written last.
func (h *host) logEnd() (wal.SegmentReport, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc != nil {
		h.w.violate("%s is up while the end of its log is looked at", h.name)
		return wal.SegmentReport{}, false
	}
	report, err := wal.Check(h.files.Clone(), path.Join(dataDir, "wal"))
	if err != nil || len(report.Segments) == 0 {
		return wal.SegmentReport{}, false
	}
	return report.Segments[len(report.Segments)-1], true
}

// lose makes the disk of the host, which must be held down, lose all bytes of a file from
// an offset on.
func (h *host) lose(file string, from int64, how crashfs.Loss, what tailLoss) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.files.LoseTail(file, from, how); err != nil {
		h.w.violate("%s: lose the log's end: %v", h.name, err)
		return
	}
	h.loss = what
	h.w.count.tails.Add(1)
	h.w.trace.add("%s: log lost from offset %d on (%d)", h.name, from, how)
}

// openedAfterLoss is called when the host's node has started.
func (h *host) openedAfterLoss() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.loss == lostBelow && !h.w.plan.ignoreEnd {
		h.w.violate("%s starts though the end of its log is lost", h.name)
	}
}

// noticedLoss reports whether a node stopped because its disk has lost the end of its log.
// If the node can't start, its disk is wiped. If its leader told it, it comes back as
// another incarnation; the second time it does not start, and gets another disk.
func (h *host) noticedLoss(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.loss == lostBelow && errors.Is(err, wal.ErrCorrupt):
		h.discard = true
		return true
	case h.loss == lostBehind && errors.As(err, new(*cluster.LostTailError)):
		h.loss, h.aside = nothingLost, true
		h.w.count.told.Add(1)
		return true
	case h.aside && errors.Is(err, cluster.ErrDivergedAgain):
		h.aside, h.discard = false, true
		return true
	}
	return false
}

// loseTail makes a member stop cleanly, and its disk lose the end of its log.
func (n *nemesis) loseTail() {
	if n.mayChange() != nil {
		return
	}
	h := n.victim()
	if h.votes() && n.voters() < 3 {
		return // its disk will be wiped
	}
	h.hold()
	clean := h.shutdown()
	n.w.sleep(n.between(100, 1000))
	if clean {
		n.loseEnd(h)
	}
	n.w.sleep(n.between(100, 1000))
	h.release()
}

// loseTailAlone makes one member lose the end of its log, while the members that have the
// lost entries are down, and those that do not have them run. If the loss were not noticed,
// these and the member would be a majority without the entries.
func (n *nemesis) loseTailAlone() {
	members := n.members()
	if n.mayChange() != nil || n.voters() != len(members) || len(members) < 3 {
		return
	}
	n.rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	victim, behind := members[0], members[1:1+len(members)/2]
	for _, h := range behind {
		n.isolate(h, true, true)
	}
	n.w.sleep(n.between(1000, 3000))
	victim.hold()
	clean := victim.shutdown()
	n.all(killed)
	n.w.net.heal()
	if clean {
		n.loseEnd(victim)
	}
	victim.release()
	for _, h := range behind {
		h.start()
	}
	n.w.sleep(n.between(3000, 6000))
	for _, h := range members {
		h.start()
	}
}

// loseEnd removes a part of the log of a host that has stopped cleanly.
func (n *nemesis) loseEnd(h *host) {
	segment, ok := h.logEnd()
	if !ok {
		return
	}
	if segment.Durable != segment.Bytes {
		n.w.violate("%s has stopped, and its log is durable up to %d of %d", h.name, segment.Durable, segment.Bytes)
	}
	from := []int64{segment.Bytes - 1 - n.rng.Int64N(min(1000, segment.Bytes/2)), segment.Bytes / 2, 1024}[n.rng.IntN(3)]
	h.lose(segment.File, from, crashfs.Loss(n.rng.IntN(2)), lostBelow)
}

// tailLostBehindMark makes the disk of a killed follower lose the bytes behind the durable
// end of its log, while the leader continues. The leader tells the follower, which comes
// back as a new incarnation.
func tailLostBehindMark(n *nemesis) {
	for round := 1; round <= fewer(3, 1); round++ {
		n.w.sleep(n.between(2000, 9000))
		if !n.w.poll(healLimit, "settle", n.mayChange) {
			return
		}
		leader := n.leader()
		h := n.members()[n.rng.IntN(len(n.members()))]
		if h == leader {
			round--
			continue
		}
		h.hold()
		h.die(killed)
		segment, ok := h.logEnd()
		if !ok || segment.Durable == segment.Bytes {
			round--
			h.release()
			continue
		}
		h.lose(segment.File, segment.Durable, crashfs.Zeroed, lostBehind)
		h.release()
		before := n.w.count.told.Load()
		if !n.w.poll(healLimit, "the follower is told", func() error {
			if n.w.count.told.Load() == before {
				return fmt.Errorf("%s continues", h.name)
			}
			return nil
		}) {
			return
		}
	}
}
