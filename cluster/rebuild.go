package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

const (
	divergenceFile = "diverged.json"
	// divergenceFormat is the version of that file.
	divergenceFormat = 1
	// setAsidePrefix begins the names that the files of an incarnation are given, in
	// the data directory, whose state has diverged or whose log has lost its end; the
	// incarnation follows, a dash, and the old name.
	setAsidePrefix = "diverged-"
)

// ErrDivergedAgain is returned by Open where an incarnation's files were set aside
// once before and are still there: the cause is likely the machine's.
var ErrDivergedAgain = errors.New("this node's state has diverged, or its log has lost its end, again")

// divergenceNote is what a node writes down when it stops because its state is
// not the majority's. The node's next start rebuilds the state from snapshot and
// log. Where that state has diverged as well, the snapshot is not to be trusted
// either: the start after it sets all files of the incarnation aside, and the
// node comes back as a new one that gets the state from the others.
type divergenceNote struct {
	Incarnation string `json:"incarnation"`
	Index       uint64 `json:"index"` // of the checkpoint
	Own         string `json:"own"`   // state hashes there, 16 hexadecimal digits
	Majority    string `json:"majority"`
	Times       int    `json:"times"` // in a row, 1 or 2
	// LostTail says what the leader has told this node of its log; empty where the
	// state has diverged. Nothing can be rebuilt then, and Times is 2.
	LostTail string `json:"lost_tail,omitempty"`
}

// noteDivergence writes down that the state of this incarnation has diverged.
func noteDivergence(files wal.FS, dir, incarnation string, found *DivergenceError) error {
	note, err := loadDivergence(files, dir)
	if err != nil {
		return err
	}
	return writeNote(files, dir, divergenceNote{
		Incarnation: incarnation, Index: found.Index,
		Own: fmt.Sprintf("%016x", found.Own), Majority: fmt.Sprintf("%016x", found.Majority),
		Times: note.Times + 1,
	})
}

// noteLostTail writes down that the log of this incarnation has lost its end.
func noteLostTail(files wal.FS, dir, incarnation string, found *LostTailError) error {
	return writeNote(files, dir, divergenceNote{Incarnation: incarnation, Index: found.Acknowledged, Times: 2, LostTail: found.Error()})
}

func writeNote(files wal.FS, dir string, note divergenceNote) error {
	if err := sealed.Write(files, filepath.Join(dir, divergenceFile), divergenceFormat, note); err != nil {
		return fmt.Errorf("note divergence: %w", err)
	}
	return nil
}

// loadDivergence reads the note of an earlier run, zero if there is none.
func loadDivergence(files wal.FS, dir string) (divergenceNote, error) {
	var note divergenceNote
	err := sealed.Read(files, filepath.Join(dir, divergenceFile), divergenceFormat, &note)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return divergenceNote{}, fmt.Errorf("read note of divergence: %w", err)
	}
	return note, nil
}

// forgetDivergence removes the note: a majority has this state.
func forgetDivergence(files wal.FS, dir string) error {
	if err := files.Remove(filepath.Join(dir, divergenceFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove note of divergence: %w", err)
	}
	return nil
}

// afterDivergence does, before anything else of a data directory is read, what a
// note of divergence asks for. It may be interrupted anywhere: the note is the
// last to be moved.
func afterDivergence(files wal.FS, dir string, log *slog.Logger) error {
	note, err := loadDivergence(files, dir)
	if err != nil || note.Times == 0 {
		return err
	}
	if note.Times == 1 {
		log.Warn("the state had diverged; it is rebuilt from snapshot and log", "index", note.Index)
		return nil
	}
	aside := setAsidePrefix + note.Incarnation + "-"
	if err := checkFirstTime(files, dir, aside); err != nil {
		return err
	}
	for _, name := range slices.Concat([]string{nodeid.File}, raftstore.Names(), []string{divergenceFile}) {
		err := files.Rename(filepath.Join(dir, name), filepath.Join(dir, aside+name))
		if err == nil {
			err = files.SyncDir(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set a diverged state aside: %w", err)
		}
	}
	reason := "the rebuilt state had diverged too"
	if note.LostTail != "" {
		reason = note.LostTail
	}
	log.Warn("this node comes back as a new incarnation", "reason", reason,
		"old-incarnation", note.Incarnation, "set-aside", filepath.Join(dir, aside+"*"))
	return nil
}

// checkFirstTime returns ErrDivergedAgain if files of another incarnation than
// aside names were set aside before.
func checkFirstTime(files wal.FS, dir, aside string) error {
	names, err := files.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, setAsidePrefix) && !strings.HasPrefix(name, aside) {
			return fmt.Errorf("%w: %s is of the first time; check this machine's memory and disk, and remove %s* to let it try once more",
				ErrDivergedAgain, name, filepath.Join(dir, setAsidePrefix))
		}
	}
	return nil
}
