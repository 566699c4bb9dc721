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
)

const (
	// roomAskTimeout bounds how long a leader waits for what its followers say of
	// their room.
	roomAskTimeout = 250 * time.Millisecond
	// roomAskPause is the least time between two such questions.
	roomAskPause = 20 * time.Millisecond
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
	asked    time.Time // when the last question ended; belongs to the holder of asking
	mu       sync.Mutex
	shortage string // guarded by mu: who has how much room
}

func newQuorumRoom() *quorumRoom { return &quorumRoom{asking: make(chan struct{}, 1)} }

// forget has the next write ask: what a leader of an earlier term knew is of no use.
func (q *quorumRoom) forget() {
	q.put.Store(math.MinInt64)
	q.rest.Store(math.MinInt64)
}

// admit returns an error that matches ErrDiskFull where too few followers have room
// for what r has admitted.
func (q *quorumRoom) admit(ctx context.Context, r *replica, put bool) error {
	limit := &q.rest
	if put {
		limit = &q.put
	}
	if r.space.admitted.Load() <= limit.Load() {
		return nil
	}
	r.askRoom(ctx)
	if r.space.admitted.Load() <= limit.Load() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Errorf("%w on too many of the other nodes (%s): %s", ErrDiskFull, q.shortage, wayOut)
}

// voterRoom is what one follower said of its room, as limits of the leader's count.
type voterRoom struct {
	id        raft.ServerID
	put, rest int64
}

// askRoom asks the other voters how much room they have. Where too few of them
// answer, nothing is known, and space refuses nothing: whether there is a majority is
// raft's to say.
func (r *replica) askRoom(ctx context.Context) {
	q := r.quorum
	q.asking <- struct{}{}
	defer func() { <-q.asking }()
	if time.Since(q.asked) < roomAskPause {
		return
	}
	others, self := r.otherVoters()
	need := (len(others)+self)/2 + 1 - self
	rooms := r.roomOf(ctx, others)
	r.memory.keep(others)
	put, rest := int64(math.MaxInt64), int64(math.MaxInt64)
	if need > 0 && len(rooms) >= need {
		put = leastOf(rooms, need, func(v voterRoom) int64 { return v.put })
		rest = leastOf(rooms, need, func(v voterRoom) int64 { return v.rest })
	}
	admitted := r.space.admitted.Load()
	var words []string
	for _, v := range rooms {
		if v.put-admitted < math.MaxInt64/2 {
			words = append(words, fmt.Sprintf("%s has room for %s of puts", nameOf(v.id), inBytes(max(0, v.put-admitted))))
		}
	}
	q.mu.Lock()
	q.shortage = strings.Join(words, ", ")
	q.mu.Unlock()
	q.put.Store(put)
	q.rest.Store(rest)
	q.asked = time.Now()
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

// roomOf asks ids at once and returns what those say that answer in time.
func (r *replica) roomOf(ctx context.Context, ids []raft.ServerID) []voterRoom {
	ctx, cancel := context.WithTimeout(ctx, roomAskTimeout)
	defer cancel()
	var mu sync.Mutex
	var rooms []voterRoom
	var calls sync.WaitGroup
	for _, id := range ids {
		calls.Go(func() {
			info, err := r.askInfo(ctx, id)
			if err != nil {
				r.memory.silent(id)
				return
			}
			r.memory.heard(id, info.Memory)
			v := r.limitsOf(id, info)
			mu.Lock()
			defer mu.Unlock()
			rooms = append(rooms, v)
		})
	}
	calls.Wait()
	slices.SortFunc(rooms, func(a, b voterRoom) int { return strings.Compare(string(a.id), string(b.id)) })
	return rooms
}

// limitsOf turns what a follower says into limits. What this log holds behind the
// follower's, and what is admitted but not in this log yet, takes its room too.
func (r *replica) limitsOf(id raft.ServerID, info nodeInfo) voterRoom {
	v := voterRoom{id: id, put: math.MaxInt64, rest: math.MaxInt64}
	switch {
	case info.Disk != nil:
		lacks := r.wal.BytesFrom(info.Disk.LastIndex + 1)
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

// room returns what this node tells its leader, nil where its disk does not tell.
func (r *replica) room() *diskRoom {
	_, last, err := r.logs.visible() // first: what is appended meanwhile counts twice
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
