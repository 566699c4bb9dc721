package cluster

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

	"github.com/kvorum/kvorum/kv"
)

const (
	// roomAskTimeout bounds how long a leader waits for what its followers say of
	// their room.
	roomAskTimeout = 250 * time.Millisecond
	// roomAskPause is the least time between two such questions.
	roomAskPause = 20 * time.Millisecond
	// roomAssumed is how long after its last word of any kind a follower that has not
	// said in time what room it has counts as one that has some.
	roomAssumed = time.Second
)

// quorumRoom is what a leader knows of the room on the disks of the voters that a
// write also needs. A put that no majority could store must be refused, and not
// wait for a follower that refuses it.
//
// Its limits are of the leader's own count of what was admitted: what a follower
// said that it has room for, less what it lacks of the leader's log. They are those
// of the follower with the least room among the fewest that are needed.
type quorumRoom struct {
	asking   chan struct{} // a lock with one slot, held while followers are asked
	put      atomic.Int64
	rest     atomic.Int64
	asked    time.Time   // when the last question ended; belongs to the holder of asking
	forgot   atomic.Bool // what the last question found counts no more
	mu       sync.Mutex
	shortage [2]string // guarded by mu: who has how much room, for puts and for the rest
}

func newQuorumRoom() *quorumRoom { return &quorumRoom{asking: make(chan struct{}, 1)} }

// forget has the next write ask: what a leader of an earlier term knew is of no use.
func (q *quorumRoom) forget() {
	q.forgot.Store(true)
	q.put.Store(math.MinInt64)
	q.rest.Store(math.MinInt64)
}

// admit returns an error that matches ErrDiskFull where too few followers have room
// for what r has admitted.
func (q *quorumRoom) admit(ctx context.Context, r *replica, put bool) error {
	limit, what, help := &q.rest, 1, restWayOut
	if put {
		limit, what, help = &q.put, 0, wayOut
	}
	if r.space.admitted.Load() <= limit.Load() {
		return nil
	}
	r.askRoom(ctx, limit)
	if r.space.admitted.Load() <= limit.Load() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Errorf("%w on too many of the other nodes (%s): %s", kv.ErrDiskFull, q.shortage[what], help)
}

// voterRoom is what one follower said of its room, as limits of the leader's count.
type voterRoom struct {
	id        raft.ServerID
	put, rest int64
}

// askRoom asks the other voters how much room they have. Where too few of them
// answer, nothing is known, and space refuses nothing: whether there is a majority is
// raft's to say. A voter that does not answer in time, and was heard of a moment ago, is
// far away or busy: it counts as one with room, or a near one without room would refuse
// for it. It waits for all of them, or, unless want is nil, until want is known
// to reach what was admitted: a voter that is down, or far away, does not hold up the
// first write of a term.
func (r *replica) askRoom(ctx context.Context, want *atomic.Int64) {
	q := r.quorum
	q.asking <- struct{}{}
	defer func() { <-q.asking }()
	if !q.forgot.Swap(false) && time.Since(q.asked) < roomAskPause {
		return
	}
	others, self := r.otherVoters()
	need := (len(others)+self)/2 + 1 - self
	rooms := r.roomOf(ctx, others, func(rooms []voterRoom) bool {
		if want == nil || len(rooms) < need {
			return false
		}
		limit, rest := q.limits(rooms, need)
		if want == &q.rest {
			limit = rest
		}
		return r.space.admitted.Load() <= limit
	})
	r.memory.keep(others)
	rooms = append(rooms, r.assumedOf(others, rooms)...)
	put, rest := q.limits(rooms, need)
	admitted := r.space.admitted.Load()
	var words [2][]string
	for _, v := range rooms {
		if v.put-admitted < math.MaxInt64/2 {
			words[0] = append(words[0], fmt.Sprintf("%s has room for %s of puts", nameOf(v.id), inBytes(max(0, v.put-admitted))))
			words[1] = append(words[1], fmt.Sprintf("%s has room for %s of deletes", nameOf(v.id), inBytes(max(0, v.rest-admitted))))
		}
	}
	q.mu.Lock()
	q.shortage = [2]string{strings.Join(words[0], ", "), strings.Join(words[1], ", ")}
	q.mu.Unlock()
	q.put.Store(put)
	q.rest.Store(rest)
	q.asked = time.Now()
}

// assumedOf returns the rooms of those of ids that are in none of rooms, and were heard
// of within roomAssumed: without limits.
func (r *replica) assumedOf(ids []raft.ServerID, rooms []voterRoom) (assumed []voterRoom) {
	for _, p := range r.peers.Peers() {
		told := slices.ContainsFunc(rooms, func(v voterRoom) bool { return v.id == p.ID })
		if !told && slices.Contains(ids, p.ID) && time.Since(p.LastContact) < roomAssumed {
			assumed = append(assumed, voterRoom{id: p.ID, put: math.MaxInt64, rest: math.MaxInt64})
		}
	}
	return assumed
}

// limits returns what may be admitted where need of the voters in rooms must have room
// for it.
func (q *quorumRoom) limits(rooms []voterRoom, need int) (put, rest int64) {
	if need <= 0 || len(rooms) < need {
		return math.MaxInt64, math.MaxInt64
	}
	return leastOf(rooms, need, func(v voterRoom) int64 { return v.put }),
		leastOf(rooms, need, func(v voterRoom) int64 { return v.rest })
}

// leastOf returns the need-th greatest of what of says of rooms.
func leastOf(rooms []voterRoom, need int, of func(voterRoom) int64) int64 {
	limits := make([]int64, len(rooms))
	for i, v := range rooms {
		limits[i] = of(v)
	}
	slices.Sort(limits)
	return limits[len(limits)-need]
}

// otherVoters returns the voters but this node, and 1 if this node votes.
func (r *replica) otherVoters() (others []raft.ServerID, self int) {
	for _, s := range r.servers() {
		switch {
		case s.Suffrage != raft.Voter:
		case s.ID == r.id:
			self = 1
		default:
			others = append(others, s.ID)
		}
	}
	return others, self
}

// roomOf asks ids at once and returns what those say that answer in time, and before
// the answers so far are enough. What the others say of their memory is heard all the
// same, a moment later: a put needs the memory of each.
func (r *replica) roomOf(ctx context.Context, ids []raft.ServerID, enough func([]voterRoom) bool) []voterRoom {
	ctx, cancel := context.WithTimeout(ctx, roomAskTimeout)
	var mu sync.Mutex
	var rooms []voterRoom
	done := false
	settled, ended := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	for _, id := range ids {
		calls.Go(func() {
			info, err := r.askInfo(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.memory.silent(id)
				return
			}
			r.memory.heard(id, info.Memory)
			if done {
				return // nobody waits for its room
			}
			rooms = append(rooms, r.limitsOf(id, info))
			if done = enough(rooms); done {
				close(settled)
			}
		})
	}
	r.wg.Go(func() {
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

// limitsOf turns what a follower says into limits. What this log holds behind the
// follower's, and what is admitted but not in this log yet, takes its room too.
func (r *replica) limitsOf(id raft.ServerID, info nodeInfo) voterRoom {
	v := voterRoom{id: id, put: math.MaxInt64, rest: math.MaxInt64}
	switch {
	case info.Disk != nil:
		lacks := r.logs.BytesFrom(info.Disk.LastIndex + 1)
		base := r.space.admitted.Load() - r.space.outstanding.Load()
		v.put = base + min(info.Disk.Put, math.MaxInt64/4) - 2*lacks
		v.rest = base + min(info.Disk.Rest, math.MaxInt64/4) - lacks
	case info.LowSpace:
		v.put = math.MinInt64 / 4
	}
	return v
}

// diskRoom is what a follower tells its leader of its disk, in bytes.
type diskRoom struct {
	Put       int64  `json:"put"`        // that puts may take, with the snapshot that they make longer
	Rest      int64  `json:"rest"`       // that anything may take
	LastIndex uint64 `json:"last_index"` // of its log
}

// toldRoom is the newest answer of room. It is given again for roomAskPause: peers ask
// every few milliseconds while leadership is handed over, and each look is two calls
// of the filesystem. It goes with the end of the log that it was found with, so that
// what was appended since counts as lacking.
type toldRoom struct {
	mu   sync.Mutex
	at   time.Time
	room *diskRoom
}

// room returns what this node tells its leader, nil where its disk does not tell.
func (r *replica) room() *diskRoom {
	r.told.mu.Lock()
	at, room := r.told.at, r.told.room
	r.told.mu.Unlock()
	if !at.IsZero() && time.Since(at) < roomAskPause {
		return room
	}
	at, room = time.Now(), r.lookForRoom() // outside of the lock: the disk may hang
	r.told.mu.Lock()
	defer r.told.mu.Unlock()
	r.told.at, r.told.room = at, room
	return room
}

func (r *replica) lookForRoom() *diskRoom {
	last, err := r.logs.LastIndex() // first: what is appended meanwhile counts twice
	if err != nil {
		return nil
	}
	f, err := r.space.look()
	if err != nil || !f.known {
		return nil
	}
	room := &diskRoom{Put: f.put, Rest: f.rest, LastIndex: last}
	if r.space.low.Load() {
		room.Put = min(room.Put, -1)
	}
	return room
}
