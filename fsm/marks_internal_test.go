package fsm

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/kvorum/kvorum/internal/wire"
)

// TestMarks_ReadWhatWasAppended shows that marks come back as they were appended, and that
// there are no more of them than versions.
func TestMarks_ReadWhatWasAppended(t *testing.T) {
	most := marks(nil).with(2, 5).with(255, 1<<63).with(1, 9)
	if len(most) != maxMarks {
		t.Fatalf("got %d marks, want %d", len(most), maxMarks)
	}
	for _, want := range []marks{nil, marks(nil).with(2, 7), most} {
		r := wire.NewReader(want.append(nil))
		if got := readMarks(&r); !slices.Equal(got, want) || r.Finish() != nil {
			t.Errorf("got %v, %v, want %v", got, r.Err(), want)
		}
	}
	tooMany := append(binary.AppendUvarint(nil, maxMarks+1), make([]byte, maxMarks+1)...)
	r := wire.NewReader(tooMany)
	if got := readMarks(&r); got != nil || !errors.Is(r.Err(), ErrMalformed) {
		t.Errorf("got %d marks, %v, want ErrMalformed", len(got), r.Err())
	}
}

// TestMarks_Since shows that only the newest index of a version counts, and that marks
// don't change.
func TestMarks_Since(t *testing.T) {
	before := marks(nil).with(3, 10)
	after := before.with(2, 20)
	for index, want := range map[uint64]byte{0: 3, 10: 3, 11: 2, 20: 2, 21: 1} {
		if got := after.since(index); got != want {
			t.Errorf("since %d: got %d, want %d", index, got, want)
		}
	}
	if got := before.since(11); got != 1 {
		t.Errorf("marks were changed: got %d since 11, want 1", got)
	}
}
