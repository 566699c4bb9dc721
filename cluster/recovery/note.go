package recovery

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
	// noteFile is the name of the note's file below the data directory.
	noteFile = "diverged.json"
	// noteFormat is the version of the note's file that this program writes and reads.
	noteFormat = 1
	// asidePrefix is the beginning of the names of files that were set aside. It is
	// followed by the incarnation, a dash, and the old name.
	asidePrefix = "diverged-"
	// asideAfter is the number of times in a row that an incarnation's state diverges
	// before its files are set aside.
	asideAfter = 2
)

// ErrDivergedAgain is returned by ActOnNote if files of another incarnation have been set
// aside and still exist: the likely cause is the machine's memory or disk.
var ErrDivergedAgain = errors.New("this node's state has diverged, or its log has lost its end, again")

// Note is written by a node that stops because its data can't be trusted.
type Note struct {
	Incarnation string `json:"incarnation"` // of the node, 16 hexadecimal digits
	// Index is the entry at which the states differ, or the last one that the node had
	// acknowledged before its log lost its end.
	Index uint64 `json:"index"`
	// Own and Majority are the state hashes at Index, as 16 hexadecimal digits. They are
	// empty if the log has lost its end.
	Own      string `json:"own"`
	Majority string `json:"majority"`
	// Times is the number of times in a row that the state has diverged, 1 or 2. WriteNote
	// sets it. It is 2 if the log has lost its end, since the state can't be rebuilt from
	// that log.
	Times int `json:"times"`
	// LostTail is the leader's report that the log has lost its end, for operators. It is
	// empty if the state has diverged.
	LostTail string `json:"lost_tail,omitempty"`
}

// WriteNote sets note.Times and makes note the note of dir. It is durable when WriteNote
// returns nil; after an error the previous note may still be there. Two calls for one
// directory must not overlap.
func WriteNote(files wal.FS, dir string, note Note) error {
	note.Times = asideAfter
	if note.LostTail == "" {
		previous, err := ReadNote(files, dir)
		if err != nil {
			return err
		}
		note.Times = previous.Times + 1
	}
	if err := sealed.Write(files, filepath.Join(dir, noteFile), noteFormat, note); err != nil {
		return fmt.Errorf("note divergence: %w", err)
	}
	return nil
}

// ReadNote returns the note of dir, and the zero Note if there is none. The error is a
// *wal.CorruptionError for a damaged file, a *wal.VersionError for one of a newer program, or
// one of the filesystem.
func ReadNote(files wal.FS, dir string) (Note, error) {
	var note Note
	err := sealed.Read(files, filepath.Join(dir, noteFile), noteFormat, &note)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Note{}, fmt.Errorf("read note of divergence: %w", err)
	}
	return note, nil
}

// ForgetNote removes the note of dir, if there is one. After a crash the note may be
// there again. Nothing depends on its absence, and the node removes it again.
func ForgetNote(files wal.FS, dir string) error {
	return removeIfThere(files, filepath.Join(dir, noteFile))
}

// ActOnNote reads the note of dir, acts on it as the package comment says, and logs that.
// It is called before anything else of dir is read, by the holder of dir's lock. After it
// has set files aside, dir has no identity: its node is a new one. The next call finishes
// an interrupted one.
//
// If files of another incarnation have been set aside, the error is ErrDivergedAgain, and
// nothing has changed. Other errors are those of ReadNote and of the filesystem.
func ActOnNote(files wal.FS, dir string, log *slog.Logger) error {
	note, err := ReadNote(files, dir)
	if err != nil || note.Times == 0 {
		return err
	}
	if note.Times < asideAfter {
		log.Warn("the state had diverged; it is rebuilt from snapshot and log", "index", note.Index)
		return nil
	}
	aside := asidePrefix + note.Incarnation + "-"
	if err := checkFirstTime(files, dir, aside); err != nil {
		return err
	}
	if err := setAside(files, dir, aside); err != nil {
		return fmt.Errorf("set a diverged state aside: %w", err)
	}
	reason := "the rebuilt state had diverged too"
	if note.LostTail != "" {
		reason = note.LostTail
	}
	log.Warn("this node comes back as a new incarnation", "reason", reason,
		"old-incarnation", note.Incarnation, "set-aside", filepath.Join(dir, aside+"*"))
	return nil
}

// setAside renames the files of the incarnation, with the prefix aside. Each rename is
// durable before the next one. The note is the last.
func setAside(files wal.FS, dir, aside string) error {
	for _, name := range slices.Concat([]string{nodeid.File}, raftstore.Names(), []string{noteFile}) {
		err := files.Rename(filepath.Join(dir, name), filepath.Join(dir, aside+name))
		if err == nil {
			err = files.SyncDir(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkFirstTime returns ErrDivergedAgain if there are files of another incarnation that
// were set aside. Those whose names begin with aside are of the present one.
func checkFirstTime(files wal.FS, dir, aside string) error {
	names, err := files.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, asidePrefix) && !strings.HasPrefix(name, aside) {
			return fmt.Errorf("%w: %s is of the first time; check this machine's memory and disk, and remove %s* to let it try once more",
				ErrDivergedAgain, name, filepath.Join(dir, asidePrefix))
		}
	}
	return nil
}
