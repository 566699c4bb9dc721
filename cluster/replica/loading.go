package replica

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// loadPhase is a part of the work on a data directory before a node
// serves. Phases may overlap; the first unfinished one is shown.
type loadPhase int

// The phases, in the order in which they are shown.
const (
	phaseRestore loadPhase = iota // the newest snapshot is checked and becomes the state
	phaseCheck                    // the log is checked
	phaseRead                     // raft looks for configurations behind the snapshot
	phaseApply                    // committed entries behind the snapshot are applied
	loadPhases
)

// loadPhaseNames are the phases' names and units as the API shows them.
var loadPhaseNames = [loadPhases]struct{ name, unit string }{
	phaseRestore: {"restoring the snapshot", "bytes"},
	phaseCheck:   {"checking the log", "bytes"},
	phaseRead:    {"reading the log", "entries"},
	phaseApply:   {"applying the log", "entries"},
}

// The first and the maximum pause between two log lines about a load.
const (
	firstLoadReport = time.Second
	maxLoadReport   = 30 * time.Second
)

// Loading knows the progress of one call of Open. The zero value is ready for
// a Config. All methods are safe for concurrent use.
type Loading struct {
	began  atomic.Int64 // nanoseconds since the Unix epoch, 0 before Open
	phases [loadPhases]struct{ done, total atomic.Int64 }
}

// Status returns the progress of the load.
func (l *Loading) Status() kv.LoadStatus {
	var s kv.LoadStatus
	if began := l.began.Load(); began != 0 {
		s.Seconds = time.Since(time.Unix(0, began)).Seconds()
	}
	for phase := range l.phases {
		p := &l.phases[phase]
		done, total := p.done.Load(), p.total.Load()
		if done >= total {
			continue // over, or not begun
		}
		s.Phase, s.Unit = loadPhaseNames[phase].name, loadPhaseNames[phase].unit
		s.Done, s.Total, s.Percent = done, total, int(100*done/total)
		break
	}
	return s
}

// Begin notes when the load began. Only the first call counts.
func (l *Loading) Begin() { l.began.CompareAndSwap(0, time.Now().UnixNano()) }

// took returns how long ago the load began.
func (l *Loading) took() time.Duration {
	return time.Since(time.Unix(0, l.began.Load())).Round(time.Millisecond)
}

// set notes the progress of a phase.
func (l *Loading) set(phase loadPhase, done, total int64) {
	l.phases[phase].total.Store(total)
	l.phases[phase].done.Store(done)
}

// end notes that a phase is over.
func (l *Loading) end(phase loadPhase) {
	l.phases[phase].done.Store(l.phases[phase].total.Load())
}

// watch logs the progress of the load, at growing intervals, until stop is closed.
func (l *Loading) watch(log *slog.Logger, stop <-chan struct{}) {
	for pause := firstLoadReport; ; pause = min(2*pause, maxLoadReport) {
		select {
		case <-time.After(pause):
			l.report(log)
		case <-stop:
			return
		}
	}
}

// report logs the progress of the load.
func (l *Loading) report(log *slog.Logger) {
	s := l.Status()
	log.Info("loading", "phase", s.Phase, "done", s.Done, "total", s.Total, "unit", s.Unit,
		"percent", s.Percent, "after", l.took())
}
