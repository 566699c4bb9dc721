package room

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/kv"
)

const (
	// AskTimeout is the maximum time that a leader waits for the reports of its followers.
	AskTimeout = 250 * time.Millisecond
	// AskPause is the minimum time between two questions for reports.
	AskPause = 20 * time.Millisecond
	// assumedFor is how long a voter that has not answered in time counts as one with room,
	// since its last message.
	assumedFor = time.Second
)

// Voters is what a Quorum asks of the node that leads. Its methods may be called from any
// goroutine.
type Voters interface {
	// Others returns the voters but this node, and whether this node votes.
	Others() (ids []raft.ServerID, self bool)
	// Ask asks a voter for its report.
	Ask(ctx context.Context, id raft.ServerID) (Report, error)
	// HeardOf returns the nodes whose last message is younger than within.
	HeardOf(within time.Duration) []raft.ServerID
	// BytesAfter returns how many bytes this node's log has after an index.
	BytesAfter(index uint64) int64
	// Go runs f on a goroutine that the node waits for when it stops.
	Go(f func())
}

// Quorum is a leader's knowledge of the room on the disks of the other voters. A put
// that no majority could store must be refused, and not wait for a follower that refuses it.
//
// Its limits apply to the leader's own count of admitted bytes. A follower's limit is the room
// that it has reported, minus the part of the leader's log that it lacks. The limit of the
// Quorum is that of the last follower that a majority needs, in the order of their room. All
// methods are safe for concurrent use.
type Quorum struct {
	disk   *Disk
	memory *Memory
	voters Voters

	asking   chan struct{} // a lock with one slot, held while followers are asked
	put      atomic.Int64
	rest     atomic.Int64
	asked    time.Time   // when the last question ended; belongs to the holder of asking
	forgot   atomic.Bool // the reports of the last question are of no use any more
	mu       sync.Mutex
	shortage [2]string // guarded by mu; the room of each voter in words, for puts and for the rest
}

// NewQuorum returns a Quorum without reports, for a node with that disk and memory. The
// memory receives the voters' reports of theirs.
func NewQuorum(disk *Disk, memory *Memory, voters Voters) *Quorum {
	return &Quorum{disk: disk, memory: memory, voters: voters, asking: make(chan struct{}, 1)}
}

// Forget makes the next write ask the voters again. It is called when a term begins: reports
// from an earlier term are of no use.
func (q *Quorum) Forget() {
	q.forgot.Store(true)
	q.put.Store(math.MinInt64)
	q.rest.Store(math.MinInt64)
}

// Admit returns an error that matches kv.ErrDiskFull if too few followers have room
// for the bytes that this node's disk has admitted.
func (q *Quorum) Admit(ctx context.Context, put bool) error {
	limit, what, help := &q.rest, 1, restWayOut
	if put {
		limit, what, help = &q.put, 0, wayOut
	}
	if q.disk.Admitted() <= limit.Load() {
		return nil
	}
	q.ask(ctx, limit)
	if q.disk.Admitted() <= limit.Load() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Errorf("%w on too many of the other nodes (%s): %s", kv.ErrDiskFull, q.shortage[what], help)
}

// Short says whether the other voters' disks have little room for puts, by their newest reports:
// so little that a follower without more takes puts again only when it has more.
func (q *Quorum) Short() bool {
	limit := q.put.Load()
	return limit != math.MinInt64 && limit-q.disk.Admitted() < leastEnough
}

// Ask asks the other voters how much room they have, and waits for all of them, but not
// longer than AskTimeout.
func (q *Quorum) Ask(ctx context.Context) { q.ask(ctx, nil) }

// voterRoom is the report of one follower, as limits of the leader's count.
type voterRoom struct {
	id        raft.ServerID
	put, rest int64
}

// ask asks the other voters how much room they have. If too few of them answer, nothing is
// known and nothing is refused: raft decides whether there is a majority. A voter that does not
// answer in time, although it sent a message a moment ago, is far away or busy. It counts as one
// with room: otherwise a near voter without room would decide for it. ask waits for all
// voters, or, if want is not nil, until want is known to be at least the admitted bytes. So a
// voter that is down or far away does not delay the first write of a term.
func (q *Quorum) ask(ctx context.Context, want *atomic.Int64) {
	q.asking <- struct{}{}
	defer func() { <-q.asking }()
	if !q.forgot.Swap(false) && time.Since(q.asked) < AskPause {
		return
	}
	others, self := q.voters.Others()
	need := majorityWithout(others, self)
	rooms := q.collect(ctx, others, func(rooms []voterRoom) bool {
		if want == nil || len(rooms) < need {
			return false
		}
		limit, rest := limitsOf(rooms, need)
		if want == &q.rest {
			limit = rest
		}
		return q.disk.Admitted() <= limit
	})
	q.memory.Keep(others)
	rooms = append(rooms, q.assumed(others, rooms)...)
	put, rest := limitsOf(rooms, need)
	shortage := shortageOf(rooms, q.disk.Admitted())
	q.mu.Lock()
	q.shortage = shortage
	q.mu.Unlock()
	q.put.Store(put)
	q.rest.Store(rest)
	q.asked = time.Now()
}

// majorityWithout returns how many of the others a majority needs with this node, which
// counts if it votes.
func majorityWithout(others []raft.ServerID, self bool) int {
	own := 0
	if self {
		own = 1
	}
	return (len(others)+own)/2 + 1 - own
}

// shortageOf returns the room of each voter in words, for puts and for the rest, after so many
// bytes were admitted.
func shortageOf(rooms []voterRoom, admitted int64) [2]string {
	var words [2][]string
	for _, v := range rooms {
		if v.put-admitted < math.MaxInt64/2 {
			name := nodeid.NameOf(v.id)
			words[0] = append(words[0], fmt.Sprintf("%s has room for %s of puts", name, InBytes(max(0, v.put-admitted))))
			words[1] = append(words[1], fmt.Sprintf("%s has room for %s of deletes", name, InBytes(max(0, v.rest-admitted))))
		}
	}
	return [2]string{strings.Join(words[0], ", "), strings.Join(words[1], ", ")}
}

// assumed returns rooms without limits for the voters of ids that are not in rooms and
// have sent a message within assumedFor.
func (q *Quorum) assumed(ids []raft.ServerID, rooms []voterRoom) (assumed []voterRoom) {
	for _, id := range q.voters.HeardOf(assumedFor) {
		told := slices.ContainsFunc(rooms, func(v voterRoom) bool { return v.id == id })
		if !told && slices.Contains(ids, id) {
			assumed = append(assumed, voterRoom{id: id, put: math.MaxInt64, rest: math.MaxInt64})
		}
	}
	return assumed
}

// limitsOf returns how much may be admitted if need of the voters in rooms must have room
// for it.
func limitsOf(rooms []voterRoom, need int) (put, rest int64) {
	if need <= 0 || len(rooms) < need {
		return math.MaxInt64, math.MaxInt64
	}
	return leastOf(rooms, need, func(v voterRoom) int64 { return v.put }),
		leastOf(rooms, need, func(v voterRoom) int64 { return v.rest })
}

// leastOf returns the need-th greatest value of the function of over rooms.
func leastOf(rooms []voterRoom, need int, of func(voterRoom) int64) int64 {
	limits := make([]int64, len(rooms))
	for i, v := range rooms {
		limits[i] = of(v)
	}
	slices.Sort(limits)
	return limits[len(limits)-need]
}

// collect asks all ids at the same time. It returns the reports that arrive in time, and
// before the reports so far are enough. The memory still receives the later reports: a put
// needs the memory of each voter.
func (q *Quorum) collect(ctx context.Context, ids []raft.ServerID, enough func([]voterRoom) bool) []voterRoom {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	var mu sync.Mutex
	var rooms []voterRoom
	done := false
	settled, ended := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	for _, id := range ids {
		calls.Go(func() {
			report, err := q.voters.Ask(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				q.memory.Silent(id)
				return
			}
			q.memory.Heard(id, report.Memory)
			if done {
				return // nobody waits for its room
			}
			rooms = append(rooms, q.roomOf(id, report))
			if done = enough(rooms); done {
				close(settled)
			}
		})
	}
	q.voters.Go(func() {
		calls.Wait()
		cancel()
		close(ended)
	})
	select {
	case <-settled:
	case <-ended:
	}
	slices.SortFunc(rooms, func(a, b voterRoom) int { return strings.Compare(string(a.id), string(b.id)) })
	return rooms
}

// roomOf turns a follower's report into limits. The end of this log that the follower lacks,
// and the admitted bytes that are not in this log yet, also take its room.
func (q *Quorum) roomOf(id raft.ServerID, report Report) voterRoom {
	v := voterRoom{id: id, put: math.MaxInt64, rest: math.MaxInt64}
	switch {
	case report.Disk != nil:
		lacks := q.voters.BytesAfter(report.Disk.LastIndex)
		base := q.disk.Settled()
		v.put = base + min(report.Disk.Put, math.MaxInt64/4) - 2*lacks
		v.rest = base + min(report.Disk.Rest, math.MaxInt64/4) - lacks
	case report.LowDisk:
		v.put = math.MinInt64 / 4
	}
	return v
}
