package fsm_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/kvorum/kvorum/fsm"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// One of everything, for the golden files.
var (
	goldenCommands = []fsm.Command{
		{Op: fsm.OpPut, Key: "key", Value: []byte("value")},
		{Op: fsm.OpPut, Key: "\x00\xff", Cond: fsm.Condition{Kind: fsm.CondAbsent}},
		{Op: fsm.OpDelete, Key: "key", Cond: fsm.Condition{Kind: fsm.CondRevision, Revision: 300}},
		{Op: fsm.OpDelete, Key: "key", Cond: fsm.Condition{Kind: fsm.CondPresent}},
		{Op: fsm.OpClock},
		{Op: fsm.OpRetire, Key: "n1.4f2a"},
	}
	goldenBatch   = fsm.Batch{Clock: 1_700_000_000_123_456_789, Commands: goldenCommands}
	goldenResults = []fsm.Result{
		{Status: fsm.StatusOK, Created: true, Revision: 300, Current: 300},
		{Status: fsm.StatusNotFound, Revision: 1},
		{Status: fsm.StatusConditionFailed, Revision: 1 << 40, Current: 7},
	}
)

// What is in logs and on the wire must stay readable: a change here needs a new version.
func TestCodec_Golden(t *testing.T) {
	checkGolden(t, "batch-v1.golden", fsm.EncodeBatch(nil, goldenBatch))
	checkGolden(t, "commands-v1.golden", fsm.EncodeCommands(nil, goldenCommands))
	checkGolden(t, "results-v1.golden", fsm.EncodeResults(nil, goldenResults))

	if got, err := fsm.DecodeBatch(golden(t, "batch-v1.golden")); err != nil || !reflect.DeepEqual(got, goldenBatch) {
		t.Errorf("batch: got %+v, %v, want %+v", got, err, goldenBatch)
	}
	if got, err := fsm.DecodeCommands(golden(t, "commands-v1.golden")); err != nil || !reflect.DeepEqual(got, goldenCommands) {
		t.Errorf("commands: got %+v, %v, want %+v", got, err, goldenCommands)
	}
	if got, err := fsm.DecodeResults(golden(t, "results-v1.golden")); err != nil || !reflect.DeepEqual(got, goldenResults) {
		t.Errorf("results: got %+v, %v, want %+v", got, err, goldenResults)
	}
}

func TestCodec_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "dst")
		b := batchGen().Draw(t, "batch")
		encoded := fsm.EncodeBatch(bytes.Clone(prefix), b)
		if !bytes.HasPrefix(encoded, prefix) {
			t.Fatalf("EncodeBatch lost what was in dst")
		}
		got, err := fsm.DecodeBatch(encoded[len(prefix):])
		if err != nil || got.Clock != b.Clock {
			t.Fatalf("got clock %d, %v, want %d", got.Clock, err, b.Clock)
		}
		checkCommands(t, got.Commands, b.Commands)
		commands, err := fsm.DecodeCommands(fsm.EncodeCommands(nil, b.Commands))
		if err != nil {
			t.Fatal(err)
		}
		checkCommands(t, commands, b.Commands)
	})
}

func checkCommands(t *rapid.T, got, want []fsm.Command) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d commands, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := got[i], want[i]
		if g.Op != w.Op || g.Key != w.Key || !bytes.Equal(g.Value, w.Value) || g.Cond != w.Cond {
			t.Fatalf("command %d: got %+v, want %+v", i, g, w)
		}
	}
}

// Whatever the encoding is cut at, and whatever follows it, is noticed.
func TestCodec_LengthMatters(t *testing.T) {
	for name, tt := range map[string]struct {
		data   []byte
		decode func([]byte) error
	}{
		"Batch":    {fsm.EncodeBatch(nil, goldenBatch), decodeBatch},
		"Commands": {fsm.EncodeCommands(nil, goldenCommands), decodeCommands},
		"Results":  {fsm.EncodeResults(nil, goldenResults), decodeResults},
	} {
		t.Run(name, func(t *testing.T) {
			for n := range tt.data {
				if err := tt.decode(tt.data[:n]); !errors.Is(err, fsm.ErrMalformed) {
					t.Errorf("cut to %d of %d bytes: got %v, want ErrMalformed", n, len(tt.data), err)
				}
			}
			if err := tt.decode(append(tt.data, 0)); !errors.Is(err, fsm.ErrMalformed) {
				t.Errorf("with a byte more: got %v, want ErrMalformed", err)
			}
		})
	}
}

func TestCodec_Refused(t *testing.T) {
	const huge = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" // the greatest uvarint
	for _, tt := range []struct {
		name   string
		decode func([]byte) error
		data   string
		want   error
	}{
		{"Count", decodeCommands, "\x01" + huge, fsm.ErrMalformed},
		{"CountOverRoom", decodeCommands, "\x01\x02\x01\x00\x00\x00\x00", fsm.ErrMalformed},
		{"CountOverlong", decodeCommands, "\x01\xff" + huge, fsm.ErrMalformed},
		{"KeyLength", decodeCommands, "\x01\x01\x01\x00\x00" + huge + "\x00", fsm.ErrMalformed},
		{"ValueLength", decodeCommands, "\x01\x01\x01\x00\x00\x00" + huge, fsm.ErrMalformed},
		{"Results", decodeResults, "\x01" + huge, fsm.ErrMalformed},
		{"OldVersion", decodeCommands, "\x00\x00", &fsm.VersionError{What: "command format", Version: 0, Supported: 1}},
		{"NewVersion", decodeResults, "\x02\x00", &fsm.VersionError{What: "result format", Version: 2, Supported: 1}},
		{"Op", decodeCommands, "\x01\x01\x06\x00\x00\x00\x00", &fsm.VersionError{What: "operation", Version: 6, Supported: 5}},
		{"OpZero", decodeCommands, "\x01\x01\x00\x00\x00\x00\x00", &fsm.VersionError{What: "operation", Version: 0, Supported: 5}},
		{"Condition", decodeCommands, "\x01\x01\x01\x04\x00\x00\x00", &fsm.VersionError{What: "condition", Version: 4, Supported: 3}},
		{"Status", decodeResults, "\x01\x01\x04\x00\x00\x00", &fsm.VersionError{What: "status", Version: 4, Supported: 3}},
		{"Flags", decodeResults, "\x01\x01\x01\x02\x00\x00", &fsm.VersionError{What: "result flags", Version: 2, Supported: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.decode([]byte(tt.data))
			var got, want *fsm.VersionError
			if errors.As(tt.want, &want) {
				if !errors.As(err, &got) || *got != *want {
					t.Errorf("got %v, want %v", err, want)
				}
			} else if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// A decoded value is a part of the input, and can't grow over what follows it.
func TestDecodeBatch_Aliases(t *testing.T) {
	data := fsm.EncodeBatch(nil, fsm.Batch{Commands: []fsm.Command{putCmd("k", "value"), putCmd("l", "next")}})
	b, err := fsm.DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	value := b.Commands[0].Value
	if &value[0] != &data[bytes.Index(data, []byte("value"))] {
		t.Error("the value was copied")
	}
	if cap(value) != len(value) {
		t.Errorf("got capacity %d, want %d", cap(value), len(value))
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(fsm.EncodeBatch(nil, goldenBatch))
	f.Add(fsm.EncodeBatch(nil, fsm.Batch{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := fsm.DecodeBatch(data)
		if err != nil {
			checkDecodeError(t, err)
			return
		}
		again, err := fsm.DecodeBatch(fsm.EncodeBatch(nil, b))
		if err != nil || !reflect.DeepEqual(again, b) {
			t.Errorf("got %+v, %v, want %+v", again, err, b)
		}
	})
}

func FuzzDecodeCommands(f *testing.F) {
	f.Add(fsm.EncodeCommands(nil, goldenCommands))
	f.Fuzz(func(t *testing.T, data []byte) {
		commands, err := fsm.DecodeCommands(data)
		if err != nil {
			checkDecodeError(t, err)
			return
		}
		again, err := fsm.DecodeCommands(fsm.EncodeCommands(nil, commands))
		if err != nil || !reflect.DeepEqual(again, commands) {
			t.Errorf("got %+v, %v, want %+v", again, err, commands)
		}
	})
}

func FuzzDecodeResults(f *testing.F) {
	f.Add(fsm.EncodeResults(nil, goldenResults))
	f.Fuzz(func(t *testing.T, data []byte) {
		results, err := fsm.DecodeResults(data)
		if err != nil {
			checkDecodeError(t, err)
			return
		}
		again, err := fsm.DecodeResults(fsm.EncodeResults(nil, results))
		if err != nil || !reflect.DeepEqual(again, results) {
			t.Errorf("got %+v, %v, want %+v", again, err, results)
		}
	})
}

func checkDecodeError(t *testing.T, err error) {
	t.Helper()
	var versionErr *fsm.VersionError
	if !errors.Is(err, fsm.ErrMalformed) && !errors.As(err, &versionErr) {
		t.Errorf("got %v, want ErrMalformed or a VersionError", err)
	}
}

func decodeBatch(data []byte) error    { _, err := fsm.DecodeBatch(data); return err }
func decodeCommands(data []byte) error { _, err := fsm.DecodeCommands(data); return err }
func decodeResults(data []byte) error  { _, err := fsm.DecodeResults(data); return err }

// checkGolden compares got with a golden file, or writes it with -update.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := golden(t, name); !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%x\nwant\n%x", name, got, want)
	}
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
