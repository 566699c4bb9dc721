package fsm

import (
	"encoding/binary"
	"iter"

	"github.com/kvorum/kvorum/fsm/mvcc"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// wholeRange are the options of a range without options. It does not change.
var wholeRange kv.RangeOptions

// rangeOptions returns the options of a range.
func rangeOptions(o *kv.Op) *kv.RangeOptions {
	if o.Range == nil {
		return &wholeRange
	}
	return o.Range
}

// checkRange refuses a range at a revision that can't be read.
func (t *tx) checkRange(o *kv.Op) error {
	how := rangeOptions(o)
	if how.Revision == 0 {
		t.read(o.Span, how)
		return nil
	}
	view, err := t.data.View(how.Revision)
	if err != nil {
		return err
	}
	defer func() { _ = view.Close() }() // always nil
	t.readView(view, o.Span, how, nil)
	return nil
}

// readRange reads the keys of a span, unless nobody waits for the answer.
func (t *tx) readRange(dst []byte, o *kv.Op) []byte {
	if !t.answered {
		return dst
	}
	how := rangeOptions(o)
	view, err := t.data.View(how.Revision)
	if err != nil {
		panic(err) // the plan has opened the same view
	}
	defer func() { _ = view.Close() }() // always nil
	return appendRange(dst, view, o.Span, how)
}

// appendRange appends the result of a range.
func appendRange(dst []byte, view *mvcc.View, span kv.Span, how *kv.RangeOptions) []byte {
	dst, field := wire.OpenField(append(dst, resultRange), 0)
	dst, list := wire.OpenField(dst, 0)
	more := false
	for it := range items(view, span, how, &more) {
		dst = appendItem(dst, &it)
	}
	dst = list.Close(dst)
	dst = append(dst, byte(bit(more, resultMore)))
	return field.Close(appendNumber(dst, view.Count(span)))
}

// items yields the items of a range. It sets more if the limit has cut them.
func items(view *mvcc.View, span kv.Span, how *kv.RangeOptions, more *bool) iter.Seq[kv.Item] {
	return func(yield func(kv.Item) bool) {
		if how.CountOnly {
			return
		}
		all := view.Ascend(span)
		if how.Reverse {
			all = view.Descend(span)
		}
		n := 0
		for it := range all {
			switch {
			case !how.Keeps(&it):
				continue
			case how.Limit > 0 && n == how.Limit:
				*more = true
				return
			case how.KeysOnly:
				it.Value = nil
			}
			if n++; !yield(it) {
				return
			}
		}
	}
}

// appendNumber appends a number that is not negative.
func appendNumber(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }
