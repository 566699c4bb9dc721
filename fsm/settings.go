package fsm

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Numbers of settings.
const (
	settingsV3 = 6 // of those that command version 3 has
	settingsV4 = 12
)

// settingNumbers returns the settings as numbers, in the order of the format. A later
// version may only add some at the end.
func settingNumbers(s *kv.Settings) [settingsV4]uint64 {
	return [...]uint64{
		uint64(s.History.MaxAge), s.History.MaxRevisions, uint64(s.History.MaxBytes),
		uint64(s.MaxKeyBytes), uint64(s.MaxValueBytes), uint64(s.MaxRequestOps),
		uint64(s.Idempotency.Window), uint64(s.Idempotency.MaxKeys), uint64(s.Idempotency.MaxBytes),
		uint64(s.Quota.MaxKeys), uint64(s.Quota.MaxBytes), uint64(slices.Index(kv.Evictions, s.Quota.Eviction)),
	}
}

// settingsVersion returns the lowest command version that has the settings which are set.
func settingsVersion(s *kv.Settings) byte {
	if s.Idempotency != (kv.Idempotency{}) || !s.Quota.IsZero() {
		return quotaVersion
	}
	return historyVersion
}

// appendSettings appends settings: their number, and each as a number. Those of version 4 at the
// end that are not set are left out, so that version 3 can read the others alone. If none is, the
// protected prefixes follow, which need the last one.
func appendSettings(dst []byte, s *kv.Settings) []byte {
	all := settingNumbers(s)
	numbers := all[:]
	for len(numbers) > settingsV3 && numbers[len(numbers)-1] == 0 {
		numbers = numbers[:len(numbers)-1]
	}
	dst = binary.AppendUvarint(dst, uint64(len(numbers)))
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, n)
	}
	if len(numbers) == settingsV4 {
		dst = binary.AppendUvarint(dst, uint64(len(s.Quota.ProtectedPrefixes)))
		for _, prefix := range s.Quota.ProtectedPrefixes {
			dst = wire.AppendBytes(dst, prefix)
		}
	}
	return dst
}

// readSettings reads what appendSettings has written. It fails if there are more settings
// than this program knows.
func readSettings(r *wire.Reader) kv.Settings {
	var n [settingsV4]uint64
	count := r.Count(1)
	if count > len(n) {
		r.Malformed("unknown settings")
	}
	for i := range min(count, len(n)) {
		n[i] = r.Uvarint()
	}
	var prefixes []string
	if count == settingsV4 {
		for more := r.Count(1); more > 0; more-- {
			prefixes = append(prefixes, string(r.Bytes()))
		}
	}
	if n[11] >= uint64(len(kv.Evictions)) {
		r.Malformed("unknown eviction")
		n[11] = 0
	}
	return kv.Settings{
		History:     kv.Retention{MaxAge: time.Duration(n[0]), MaxRevisions: n[1], MaxBytes: int64(n[2])},
		MaxKeyBytes: int(n[3]), MaxValueBytes: int(n[4]), MaxRequestOps: int(n[5]),
		Idempotency: kv.Idempotency{Window: time.Duration(n[6]), MaxKeys: int64(n[7]), MaxBytes: int64(n[8])},
		Quota: kv.Quota{
			MaxKeys: int64(n[9]), MaxBytes: int64(n[10]), Eviction: kv.Evictions[n[11]], ProtectedPrefixes: prefixes,
		},
	}
}

// SettingsRequest returns the request that replaces the cluster's settings, which must be
// valid.
func SettingsRequest(s kv.Settings) wire.Requests {
	r := internalRequest(tagSettings, kv.Op{Value: appendSettings(nil, &s)})
	r.Version = settingsVersion(&s)
	return r
}

// CompactRequest returns the request that makes revision the oldest one that can be read.
// It is refused if the revision is not above the compact revision, or if the store has not
// reached it. The revision must be above 0.
func CompactRequest(revision uint64) wire.Requests {
	return internalRequest(tagCompact, kv.Op{Value: binary.AppendUvarint(nil, revision)})
}

// allHistory is the revision in the request that compacts all history.
const allHistory = 0

// CompactAllRequest returns the request that compacts all history. It takes a revision; see
// mvcc.Tx.CompactAll.
func CompactAllRequest() wire.Requests { return CompactRequest(allHistory) }

// decodeSettings checks the settings in an operation's value, so that tx.do can read them.
func decodeSettings(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Value = r.Rest()
	r = wire.NewReader(o.Value)
	readSettings(&r)
	return r
}

// decodeCompact checks the revision in an operation's value.
func decodeCompact(_ *decoding, r wire.Reader, o *kv.Op) wire.Reader {
	o.Value = r.Rest()
	r = wire.NewReader(o.Value)
	r.Uvarint()
	return r
}

func encodeValue(dst []byte, o *kv.Op) []byte { return append(dst, o.Value...) }

// checkSettings refuses settings with a quota below what is stored. Writes may have been under way
// when the leader looked, so each replica looks again: the decision is that of the entry's place in
// the log.
func (t *tx) checkSettings(o *kv.Op) error {
	r := wire.NewReader(o.Value)
	s := readSettings(&r)
	return s.Quota.Admits(int64(t.data.Len()), t.data.Bytes())
}

// set replaces the settings by those in an operation's value.
func (t *tx) set(o *kv.Op) {
	r := wire.NewReader(o.Value)
	s := readSettings(&r)
	t.state.settings.Store(&s)
	t.state.trackUses()
}

// compact compacts the history up to the revision in an operation's value. It is the plan
// and the deed: its request has no other operation.
func (t *tx) compact(o *kv.Op) error {
	r := wire.NewReader(o.Value)
	revision := r.Uvarint()
	if revision == allHistory {
		t.data.CompactAll()
		return nil
	}
	if replace := t.seams.Compact; replace != nil {
		revision = replace(revision)
	}
	return t.data.Compact(revision)
}

// Settings returns the cluster's settings.
func (f *FSM) Settings() kv.Settings { return *f.state.Load().settings.Load() }
