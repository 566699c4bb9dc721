package replica

import (
	"context"
	"time"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

const (
	// retainTick is the time between two looks at the history.
	retainTick = time.Second
	// compactPause is the minimum time between two compactions because of age or number, or a
	// tenth of the age if that is shorter. Each is an entry of the log.
	compactPause = 10 * time.Second
	// maxNotes is the maximum number of remembered revisions. They are as far apart as an
	// age that is to be kept divided by it.
	maxNotes = 512
	// historyShare is the part of the voters' memory for data that the history may take.
	historyShare = 8
	// bytesKept is the part of the memory limit, in percent, down to which a compaction goes.
	// So the next one is not due at once.
	bytesKept = 90
)

// note is a revision of the store at a time of the cluster clock.
type note struct {
	clock    int64 // nanoseconds since the Unix epoch
	revision uint64
}

// notes are the revisions of the last time, in order. Each replica has its own: the leader
// alone decides, by a request that all apply.
type notes []note

// add remembers a revision. If another one is less than spacing before, it is left out.
func (n *notes) add(now note, spacing time.Duration) {
	if last := len(*n) - 1; last >= 0 && now.clock-(*n)[last].clock < int64(spacing) {
		return
	}
	if len(*n) == 2*maxNotes {
		*n = append((*n)[:0], (*n)[maxNotes:]...)
	}
	*n = append(*n, now)
}

// before returns the newest revision of at most a time of the clock, 0 if none is known.
func (n *notes) before(clock int64) (revision uint64) {
	for _, one := range *n {
		if one.clock > clock {
			break
		}
		revision = one.revision
	}
	return revision
}

// retain makes the leader compact history that is not to be kept any more, until ctx ends.
func (r *Replica) retain(ctx context.Context) {
	tick := time.NewTicker(retainTick)
	defer tick.Stop()
	var all notes
	var compacted time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if !r.machine.History() {
			continue
		}
		limits := r.machine.Settings().History.WithDefaults()
		all.add(note{r.machine.Clock(), r.machine.Revision()}, limits.MaxAge/maxNotes)
		if !r.Leading() {
			continue
		}
		target, full := r.retainFrom(limits, all)
		if !full && time.Since(compacted) < min(compactPause, limits.MaxAge/10) {
			continue
		}
		if request, due := r.compaction(target); due {
			compacted = time.Now()
			r.compactHistory(ctx, request)
		}
	}
}

// compaction returns the request after which target is the oldest revision that can be read,
// and whether it is due. If that is so already, and there is no newer revision, what the
// newest one superseded is the rest of the history: all of it goes.
func (r *Replica) compaction(target uint64) (request wire.Requests, due bool) {
	compact := r.machine.CompactRevision()
	if target > compact {
		return r.machine.CompactRequest(target), true
	}
	bytes, settled := r.machine.HistoryBytes()
	due = target == compact && target == r.machine.Revision() && settled && bytes > 0
	return r.machine.CompactAllRequest(), due
}

// retainFrom returns the oldest revision that is to be kept, and whether the history takes
// more room than it may. While puts are refused for memory or disk, here or for another voter,
// no history is kept: data and the next snapshot need the room.
func (r *Replica) retainFrom(limits kv.Retention, all notes) (target uint64, full bool) {
	revision, compact := r.machine.Revision(), r.machine.CompactRevision()
	target = all.before(r.now() - int64(limits.MaxAge))
	if r.memory.Short() || r.disk.Low() || r.quorum.Short() {
		return revision, true
	}
	if limits.MaxRevisions != 0 && revision > limits.MaxRevisions {
		target = max(target, revision-limits.MaxRevisions)
	}
	most := limits.MaxBytes
	if data := r.memory.DataLimit(); data != 0 {
		most = min(most, data/historyShare)
	}
	bytes, settled := r.machine.HistoryBytes()
	if full = settled && bytes > most; full {
		// As if all revisions took the same. If they don't, the next look corrects it.
		kept := float64(revision-compact) * float64(most) / float64(bytes) * bytesKept / 100
		target = max(target, revision-uint64(kept))
	}
	return min(target, revision), full
}

// now returns the cluster clock as the leader would stamp an entry now.
func (r *Replica) now() int64 {
	if state, _ := r.leaders.Current(); state.Term != nil {
		return state.Term.Stamp()
	}
	return r.machine.Clock()
}

// compactHistory compacts the history on all replicas.
func (r *Replica) compactHistory(ctx context.Context, request wire.Requests) {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if _, err := r.proposer.Propose(ctx, request, true); err != nil {
		r.log.Debug("history not compacted", "err", err)
	}
}
