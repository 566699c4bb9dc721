package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// fingerprint is a hash of the encoded compares and operations of a request: the first half of
// their SHA-256. The node that encodes a request computes it, and the leader checks that of
// another node's request. Replicas only compare it. It does not depend on Op.MaxBytes, which is
// the limit of the node that encodes, at that moment: a retry may have another one.
type fingerprint [sha256.Size / 2]byte

// fingerprintOf returns the fingerprint of a request, whose encoded parts are given.
func fingerprintOf(r *kv.Request, parts []byte) fingerprint {
	if without, limited := withoutLimits(r); limited {
		parts = appendBody(nil, without)
	}
	sum := sha256.Sum256(parts)
	return fingerprint(sum[:])
}

// withoutLimits returns a copy of a request whose appends have no limits, and whether there are
// appends; otherwise it returns r.
func withoutLimits(r *kv.Request) (without *kv.Request, limited bool) {
	then, inThen := opsWithoutLimits(r.Then)
	els, inElse := opsWithoutLimits(r.Else)
	if !inThen && !inElse {
		return r, false
	}
	return &kv.Request{If: r.If, Then: then, Else: els}, true
}

// opsWithoutLimits is withoutLimits for the operations of a branch.
func opsWithoutLimits(ops []kv.Op) (without []kv.Op, limited bool) {
	for i := range ops {
		o := ops[i]
		switch o.Kind {
		case kv.OpAppend:
			o.MaxBytes = 0
		case kv.OpRequest:
			nested, inNested := withoutLimits(o.Nested)
			if !inNested {
				continue
			}
			o.Nested = nested
		default:
			continue
		}
		if !limited {
			ops, limited = slices.Clone(ops), true
		}
		ops[i] = o
	}
	return ops, limited
}

// keptAnswer is the answer to a request with an idempotency key, as a snapshot has it:
//
//	time(8) fingerprint(16) keyLen key response
//
// The time is the cluster clock when the request was carried out. The response has its length
// before it. An answer does not change.
type keptAnswer string

// Lengths of the fields of a keptAnswer.
const (
	answerTimeLen = 8
	answerHeadLen = answerTimeLen + len(fingerprint{})
)

func (a keptAnswer) time() int64 {
	var n uint64
	for i := range answerTimeLen {
		n = n<<8 | uint64(a[i])
	}
	return int64(n)
}

func (a keptAnswer) print() string { return string(a[answerTimeLen:answerHeadLen]) }

// key and response return the fields behind the fingerprint. The length of a key has at most
// two bytes.
func (a keptAnswer) key() string      { key, _ := a.split(); return key }
func (a keptAnswer) response() string { _, response := a.split(); return response }

func (a keptAnswer) split() (key, response string) {
	n, at := int(a[answerHeadLen]), answerHeadLen+1
	if n >= 0x80 {
		n, at = n&0x7f|int(a[at])<<7, at+1
	}
	return string(a[at : at+n]), string(a[at+n:])
}

// decided returns the answer without the text of a refusal. Another build of the program may put
// a refusal in other words, so replicas agree on the rest only.
func (a keptAnswer) decided() string {
	response := a.response()
	_, n := binary.Uvarint([]byte(response[:min(len(response), binary.MaxVarintLen64)]))
	if response[n] != responseRefused {
		return string(a)
	}
	r := wire.NewReader([]byte(response[n+1:]))
	r.Bytes()   // the code
	r.Uvarint() // what was asked for
	r.Uvarint() // its bound
	return string(a[:len(a)-len(response)]) + response[n:len(response)-r.Len()]
}

// refusalTextBytes is what the text of a refusal counts, however long it is: about the maximum.
// Each replica decides by it: to change it takes a new command version.
const refusalTextBytes = 200

// bytes returns what the answer counts for the limit.
func (a keptAnswer) bytes() int64 {
	key, response := a.split()
	n := int64(len(key)+len(response)) + kv.IdempotencyKeyBytes
	if decided := a.decided(); len(decided) < len(a) {
		n += refusalTextBytes - int64(len(a)-len(decided))
	}
	return n
}

// hash returns the hash of an answer, without the text of a refusal, with its number. The steps behind the first one make a sum of
// hashes depend on which answer has which number.
func (a keptAnswer) hash(number uint64) uint64 {
	const odd, mix = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	h := xxhash.Sum64String(a.decided()) + (number+1)*odd
	h = (h ^ h>>32) * mix
	h = (h ^ h>>32) * mix
	return h ^ h>>32
}

// chunkAnswers is the number of answers of a chunk.
const chunkAnswers = 256

// answerChunk has answers with successive numbers, the first of which is a multiple of
// chunkAnswers. Each is written once.
type answerChunk [chunkAnswers]keptAnswer

// answerList are answers in the order of their requests, which is that of their times. A copy
// with cloned chunks is a snapshot of the list.
type answerList struct {
	first, next uint64         // the numbers of the oldest answer, and of the next one
	chunks      []*answerChunk // the first has the answer with the number first; none if there is no answer
}

// at returns the answer with a number from first up to next.
func (l *answerList) at(number uint64) keptAnswer {
	return l.chunks[number/chunkAnswers-l.first/chunkAnswers][number%chunkAnswers]
}

// all yields the answers in order.
func (l *answerList) all() iter.Seq[keptAnswer] {
	return func(yield func(keptAnswer) bool) {
		for number := l.first; number < l.next; number++ {
			if !yield(l.at(number)) {
				return
			}
		}
	}
}

// push adds an answer at the end.
func (l *answerList) push(a keptAnswer) {
	if l.next%chunkAnswers == 0 || len(l.chunks) == 0 {
		l.chunks = append(l.chunks, new(answerChunk))
	}
	l.chunks[len(l.chunks)-1][l.next%chunkAnswers] = a
	l.next++
}

// pop removes the oldest answer. Its memory is given back with that of its chunk.
func (l *answerList) pop() {
	if l.first++; l.first == l.next {
		l.chunks = nil
	} else if l.first%chunkAnswers == 0 {
		l.chunks[0] = nil
		l.chunks = l.chunks[1:]
	}
}

// answers are the kept answers of a state. FSM.mu guards them.
type answers struct {
	answerList
	index answerIndex
	bytes int64  // of all answers, as the limit counts them
	hash  uint64 // the sum, modulo 2^64, of their hashes
	slab  []byte // memory of the newest answers; what is free is behind its length
}

// slabBytes is the size of a slab. Answers are dropped in the order in which they were made, so
// a slab is given back soon after its first answer.
const slabBytes = 64 << 10

// add adds the answer to a request that was carried out at a time of the cluster clock.
func (s *answers) add(clock int64, print fingerprint, key string, response []byte) {
	if need := answerHeadLen + 2 + len(key) + len(response); cap(s.slab)-len(s.slab) < need {
		s.slab = make([]byte, 0, max(slabBytes, need))
	}
	at := len(s.slab)
	s.slab = binary.BigEndian.AppendUint64(s.slab, uint64(clock))
	s.slab = wire.AppendBytes(append(s.slab, print[:]...), key)
	s.slab = append(s.slab, response...)
	s.keep(keptAnswer(alias(s.slab[at:])))
}

// keep adds an answer, whose memory remains as it is.
func (s *answers) keep(a keptAnswer) {
	hash := s.index.hashOf(a.key())
	at, _ := s.slot(hash, a.key())
	s.index.put(at, hash, s.next)
	s.bytes += a.bytes()
	s.hash += a.hash(s.next)
	s.push(a)
}

// fetch makes lookups of the keys of requests faster, if it is called just before them.
func (s *answers) fetch(requests []kv.Request) {
	for i := range requests {
		if key := requests[i].IdempotencyKey; key != "" {
			s.index.fetch(key)
		}
	}
}

// find returns the answer to the request with a key, and whether there is one that is not past
// the window.
func (s *answers) find(key string, clock int64, limits kv.Idempotency) (a keptAnswer, found bool) {
	at, found := s.slot(s.index.hashOf(key), key)
	if found {
		a = s.at(s.number(s.index.slots[at].number))
	}
	return a, found && !a.past(clock, limits)
}

// slot returns the place in the index of a key with that hash.
func (s *answers) slot(hash uint32, key string) (at int, found bool) {
	return s.index.slot(hash, func(number uint32) bool { return s.at(s.number(number)).key() == key })
}

// number returns the number of an answer from its lowest 32 bits. There are never as many
// answers as such numbers.
func (s *answers) number(lowest uint32) uint64 { return s.first + uint64(lowest-uint32(s.first)) }

// past reports whether an answer is past the window.
func (a keptAnswer) past(clock int64, limits kv.Idempotency) bool {
	return uint64(clock)-uint64(a.time()) >= uint64(limits.Window) // the clock is not below the time
}

// drop removes up to most answers that are past the window, the oldest first.
func (s *answers) drop(clock int64, limits kv.Idempotency, most int) {
	for i := 0; i < most && s.first < s.next && s.at(s.first).past(clock, limits); i++ {
		if i%fetchAhead == 0 && most > 1 {
			for ahead := s.first; ahead < min(s.first+fetchAhead, s.next); ahead++ {
				s.index.fetch(s.at(ahead).key())
			}
		}
		a := s.at(s.first)
		// If there is none, the key has a newer answer.
		at, found := s.index.slot(s.index.hashOf(a.key()), func(number uint32) bool { return number == uint32(s.first) })
		if found {
			s.index.remove(at)
		}
		s.bytes -= a.bytes()
		s.hash -= a.hash(s.first)
		if s.pop(); s.first == s.next {
			s.index, s.slab = answerIndex{}, nil // to give memory back
		}
	}
}

// reserve drops answers past the window while there is no room for another one. It returns an
// error if there is none then.
func (s *answers) reserve(clock int64, limits kv.Idempotency) error {
	for {
		before, full := s.first, s.full(limits)
		if full == nil {
			return nil
		}
		if s.drop(clock, limits, 1); s.first == before {
			return full
		}
	}
}

// full returns an error that names the limit if there is no room for another answer.
func (s *answers) full(limits kv.Idempotency) error {
	switch count := int64(s.next - s.first); {
	case count >= limits.MaxKeys:
		return fmt.Errorf("%w: %d idempotency keys of the last %v are remembered, the limit is %d (setting idempotency.max_keys)",
			kv.ErrOverloaded, count, limits.Window, limits.MaxKeys)
	case s.bytes >= limits.MaxBytes:
		return fmt.Errorf("%w: the answers to requests with idempotency keys of the last %v have %d bytes, the limit is %d (setting idempotency.max_bytes)",
			kv.ErrOverloaded, limits.Window, s.bytes, limits.MaxBytes)
	}
	return nil
}

// snapshot returns the answers as they are now.
func (s *answers) snapshot() answerList {
	return answerList{first: s.first, next: s.next, chunks: slices.Clone(s.chunks)}
}

// dropPerEntry is the maximum number of answers past the window that an entry drops, besides
// those that its requests need to drop. Each replica drops as many: to change it takes a new command
// version.
const dropPerEntry = 1000

// once applies a request with an idempotency key, unless it was applied before, and appends the
// response to it. It keeps the response, also if nobody waits for it, unless the reason of a refusal
// is not the request: then the same request may succeed later.
func (t *tx) once(dst []byte, r *kv.Request, print fingerprint) []byte {
	kept, limits := &t.state.answers, t.state.settings.Load().Idempotency.WithDefaults()
	if before, found := kept.find(r.IdempotencyKey, t.clock, limits); found && !t.seams.ForgetAnswers {
		if before.print() != string(print[:]) {
			return appendRefusal(dst, fmt.Errorf("%w: %.64q, with another content", kv.ErrIdempotencyReused, r.IdempotencyKey))
		}
		if err := t.budget.replay(len(before.response())); err != nil {
			return appendRefusal(dst, err)
		}
		return appendReplayed(dst, before.response())
	}
	if err := kept.reserve(t.clock, limits); err != nil {
		return appendRefusal(dst, err)
	}
	at, answered := len(dst), t.answered
	t.answered, t.budget.kept = true, true
	dst, refused := t.request(dst, r)
	t.answered, t.budget.kept = answered, false
	if refused == nil || !errors.Is(refused, kv.ErrOverloaded) {
		kept.add(t.clock, print, r.IdempotencyKey, dst[at:])
	}
	return dst
}

// Answered reports whether requests would carry nothing out in an entry at a time of the cluster
// clock, because the answers to all of them are kept. Answers of which less than half of the window
// is left do not count: that entry may be applied after others. It may be called from any goroutine.
func (f *FSM) Answered(requests wire.Requests, clock int64) bool {
	var b batch
	if _, err := f.codec.requests(requests.Version, requests.Count, requests.Data, &b); err != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state.Load()
	limits := s.settings.Load().Idempotency.WithDefaults()
	limits.Window /= 2
	return !slices.ContainsFunc(b.requests, func(r kv.Request) bool {
		if r.IdempotencyKey == "" {
			return true
		}
		_, found := s.answers.find(r.IdempotencyKey, max(clock, f.clock.Load()), limits)
		return !found
	})
}

// appendReplayed appends the response that repeats another one, which has its length before it.
func appendReplayed(dst []byte, response string) []byte {
	dst, field := wire.OpenField(dst, len(response))
	dst = append(dst, responseReplayed)
	_, n := binary.Uvarint([]byte(response[:min(len(response), binary.MaxVarintLen64)]))
	return field.Close(append(dst, response[n:]...))
}

// readAnswers adds the answers of a snapshot's block. They are kept in its memory.
func (s *answers) readAnswers(payload []byte) error {
	block := string(payload)
	for r := wire.NewReader(payload); r.Len() > 0; {
		at := len(block) - r.Len()
		r.Uint64()
		for range len(fingerprint{}) {
			r.Byte()
		}
		before := r.Len()
		key := r.Bytes()
		length := before - r.Len() - len(key)
		response := r.Bytes()
		if r.Err() == nil && (len(key) < 1 || len(key) > kv.MaxIdempotencyKeyBytes || length != wire.UvarintLen(uint64(len(key))) || len(response) == 0) {
			r.Malformed("length of a key or of an answer is out of range")
		}
		if err := r.Err(); err != nil {
			return fmt.Errorf("kept answers: %w", err)
		}
		s.keep(keptAnswer(block[at : len(block)-r.Len()]))
	}
	return nil
}

// Idempotency describes the kept answers.
type Idempotency struct {
	Keys  int64 // number of answers, with those past the window that are not dropped yet
	Bytes int64 // of them, as the setting MaxBytes counts
}

// Idempotency returns how many answers are kept.
func (f *FSM) Idempotency() Idempotency {
	s := f.state.Load()
	return Idempotency{Keys: s.answerCount.Load(), Bytes: s.answerBytes.Load()}
}

// AnswerBytes returns about the memory of the kept answers, the Bytes of Idempotency, and of the
// leases.
func (f *FSM) AnswerBytes() int64 {
	s := f.state.Load()
	return s.answerBytes.Load() + s.leaseCount.Load()*leaseBytes
}

// countAnswers makes it known how many answers are kept.
func (s *state) countAnswers() {
	s.answerCount.Store(int64(s.answers.next - s.answers.first))
	s.answerBytes.Store(s.answers.bytes)
}
