package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
)

// Keys that raft uses. There are no others.
const (
	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteCand = "LastVoteCand"
)

const (
	// ballotKey is the only key of the inner store.
	ballotKey = "ballot"
	// ballotVersion is the first byte of a ballot's encoding.
	ballotVersion = 1
	// ballotHeader is the size in bytes of version, current term and vote term.
	ballotHeader = 1 + 8 + 8
	// bootstrapTerm is the term of a cluster's first log entry. Elections begin with term 2.
	bootstrapTerm = 1
	// maxCandidateBytes is the maximum length of a candidate's address, which is its server id.
	maxCandidateBytes = 1024
)

// errStableNotFound is returned for a key that was never set. Raft compares the
// text, which must be exactly this (NewRaft, HasExistingState, requestVote).
var errStableNotFound = errors.New("not found")

// errBallotRefused is wrapped by the error of a change that would break an election promise.
var errBallotRefused = errors.New("refused change of term or vote")

// ballot is the part of the election's state that a server must never forget (Raft
// paper, figure 2): the newest term that it has seen, and its last vote.
type ballot struct {
	term      uint64
	voteTerm  uint64
	candidate string // empty: no vote was ever given
}

// encode returns version(1) term(8) voteTerm(8) candidate(…) CRC32C(4), big endian.
func (b ballot) encode() []byte {
	out := make([]byte, 0, ballotHeader+len(b.candidate)+crc32.Size)
	out = append(out, ballotVersion)
	out = binary.BigEndian.AppendUint64(out, b.term)
	out = binary.BigEndian.AppendUint64(out, b.voteTerm)
	out = append(out, b.candidate...)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

// decodeBallot is the reverse of encode, and checks its input. Errors name file.
func decodeBallot(file string, in []byte) (ballot, error) {
	if len(in) < ballotHeader+crc32.Size || len(in) > ballotHeader+maxCandidateBytes+crc32.Size {
		return ballot{}, &wal.CorruptionError{File: file, Reason: fmt.Sprintf("term and vote record has %d bytes", len(in))}
	}
	body := in[:len(in)-crc32.Size]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(in[len(body):]) {
		return ballot{}, &wal.CorruptionError{File: file, Reason: "checksum mismatch in the term and vote record"}
	}
	if body[0] != ballotVersion {
		return ballot{}, &wal.VersionError{File: file, Found: uint32(body[0]), Supported: ballotVersion}
	}
	return ballot{
		term:      binary.BigEndian.Uint64(body[1:]),
		voteTerm:  binary.BigEndian.Uint64(body[9:]),
		candidate: string(body[ballotHeader:]),
	}, nil
}

// stableStore is raft's StableStore. It keeps term and vote, the ballot, as one value of
// an inner store.
//
// Raft writes a vote as two keys. A crash in between would leave the new term with the
// old candidate, which would then get this server's vote without a check of its log
// (hashicorp/raft issue 661). Here LastVoteTerm stays in memory until LastVoteCand is
// set. Then both become durable in one write.
//
// It is also the last protection against a second vote in one term. It refuses a lower
// term, and another vote in the same term, even if raft asks for it. A refusal is
// final, like a failed write: onFatal is called, and every later change fails with the
// same error.
//
// Raft panics when it can't write a term, and the panic would end the program that the
// node is part of. So the store ends raft's goroutine before that (runtime.Goexit). The
// goroutine's deferred calls refuse the request in progress, and Shutdown of raft does
// not wait for the goroutine.
//
// Reads return only durable values. All methods are safe for concurrent use.
type stableStore struct {
	inner   raft.StableStore
	onFatal func(error)

	// writing is a lock (a channel of capacity one), held while the inner store writes.
	// It guards the fields below it.
	writing      chan struct{}
	pendingTerm  uint64 // the value of LastVoteTerm, until LastVoteCand is set
	pendingValid bool
	failed       error // the first failure, returned by every later change

	mu      sync.Mutex
	durable ballot // guarded by mu
}

var _ raft.StableStore = (*stableStore)(nil)

// newStableStore returns a store above inner, whose ballot it reads, checks and makes
// durable. onFatal is called at most once.
func newStableStore(inner raft.StableStore, onFatal func(error)) (*stableStore, error) {
	s := &stableStore{inner: inner, onFatal: onFatal, writing: make(chan struct{}, 1)}
	raw, err := inner.Get([]byte(ballotKey))
	if err != nil {
		if err.Error() == errStableNotFound.Error() {
			return s, nil
		}
		return nil, fmt.Errorf("read term and vote: %w", err)
	}
	if s.durable, err = decodeBallot(stablePath(inner), raw); err != nil {
		return nil, fmt.Errorf("read term and vote: %w", err)
	}
	// The process that wrote the ballot may have been killed before it was durable. Raft
	// may repeat a vote that it finds here without another write.
	if err := inner.Set([]byte(ballotKey), raw); err != nil {
		return nil, fmt.Errorf("write term and vote: %w", err)
	}
	return s, nil
}

// stablePath returns the inner store's file for error messages.
func stablePath(inner raft.StableStore) string {
	if file, ok := inner.(interface{ Path() string }); ok {
		return file.Path()
	}
	return "stable store"
}

// SetUint64 implements raft.StableStore for CurrentTerm, which is durable on return, and
// for LastVoteTerm, which waits for LastVoteCand. After a failure to set a term, raft
// would panic, unless the term is a bootstrap's. In that case SetUint64 does not return:
// it ends its goroutine, raft's main one. (NewRaft also sets the term, but to its present
// value: nothing is written, so nothing can fail.)
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	err := s.setUint64(key, value)
	if err != nil && string(key) == keyCurrentTerm && value != bootstrapTerm {
		runtime.Goexit()
	}
	return err
}

func (s *stableStore) setUint64(key []byte, value uint64) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if s.failed != nil {
		return s.failed
	}
	next := s.current()
	switch string(key) {
	case keyCurrentTerm:
		if value < next.term {
			return s.fail(fmt.Errorf("%w: term %d after term %d", errBallotRefused, value, next.term))
		}
		next.term = value
		return s.write(next)
	case keyLastVoteTerm:
		if value < next.voteTerm {
			return s.fail(fmt.Errorf("%w: vote in term %d after one in term %d", errBallotRefused, value, next.voteTerm))
		}
		s.pendingTerm, s.pendingValid = value, true
		return nil
	}
	return fmt.Errorf("%w: unknown number %q", errBallotRefused, key)
}

// Set implements raft.StableStore for LastVoteCand: it makes the vote durable.
func (s *stableStore) Set(key, value []byte) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if s.failed != nil {
		return s.failed
	}
	if string(key) != keyLastVoteCand {
		return fmt.Errorf("%w: unknown key %q", errBallotRefused, key)
	}
	term, valid := s.pendingTerm, s.pendingValid
	s.pendingTerm, s.pendingValid = 0, false
	next := s.current()
	switch {
	case !valid:
		return s.fail(fmt.Errorf("%w: vote for %q in no term", errBallotRefused, value))
	case len(value) == 0 || len(value) > maxCandidateBytes:
		return s.fail(fmt.Errorf("%w: candidate has %d bytes", errBallotRefused, len(value)))
	case next.candidate != "" && term == next.voteTerm && string(value) != next.candidate:
		return s.fail(fmt.Errorf("%w: vote for %q in term %d after one for %q",
			errBallotRefused, value, term, next.candidate))
	}
	next.voteTerm, next.candidate = term, string(value)
	return s.write(next)
}

// GetUint64 implements raft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	b := s.current()
	switch {
	case string(key) == keyCurrentTerm && b.term > 0:
		return b.term, nil
	case string(key) == keyLastVoteTerm && b.candidate != "":
		return b.voteTerm, nil
	}
	return 0, errStableNotFound
}

// Get implements raft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	if b := s.current(); string(key) == keyLastVoteCand && b.candidate != "" {
		return []byte(b.candidate), nil
	}
	return nil, errStableNotFound
}

// forgetBootstrap removes the term that raft makes durable before the first entry of a
// new cluster's log. Its caller has found the log empty: the process ended in between,
// and raft would conclude from the term that the cluster exists. It is the only term that
// may be forgotten, because it never has a leader or a vote. A ballot with anything else
// is kept.
func (s *stableStore) forgetBootstrap() error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if s.current() != (ballot{term: bootstrapTerm}) {
		return nil
	}
	return s.write(ballot{})
}

// current returns the durable ballot.
func (s *stableStore) current() ballot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

// write makes next durable. Its caller holds writing. A ballot that is durable already is
// not written again: at every start raft sets its term to the present value.
func (s *stableStore) write(next ballot) error {
	if next == s.current() {
		return nil
	}
	if err := s.inner.Set([]byte(ballotKey), next.encode()); err != nil {
		return s.fail(fmt.Errorf("write term and vote: %w", err))
	}
	s.mu.Lock()
	s.durable = next
	s.mu.Unlock()
	return nil
}

// fail latches err. Its caller holds writing.
func (s *stableStore) fail(err error) error {
	s.pendingTerm, s.pendingValid = 0, false
	s.failed = fmt.Errorf("stable store: %w", err)
	s.onFatal(s.failed)
	return s.failed
}
