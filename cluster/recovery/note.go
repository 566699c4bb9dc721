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
	// noteFormat is the version of that file which this program writes and reads.
	noteFormat = 1
	// asidePrefix begins the names of files that were set aside. The incarnation follows, a
	// dash, and the old name.
	asidePrefix = "diverged-"
	// asideAfter is the number of times in a row that an incarnation's state diverges
	// before its files are set aside.
	asideAfter = 2
)

// ErrDivergedAgain is returned by ActOnNote where another incarnation's files were set
// aside before and are still there: the likely cause is the machine's memory or disk.
var ErrDivergedAgain = errors.New("this node's state has diverged, or its log has lost its end, again")

// Note is what a node writes down when it stops because its data can't be trusted.
type Note struct {
	Incarnation string `json:"incarnation"` // of the node, 16 hexadecimal digits
	// Index is the entry at which the states differ, or the last one that the node had
	// acknowledged before its log lost its end.
	Index uint64 `json:"index"`
	// Own and Majority are the state hashes at Index, as 16 hexadecimal digits. They are
	// empty where the log has lost its end.
	Own      string `json:"own"`
	Majority string `json:"majority"`
	// Times is how often in a row the state has diverged, 1 or 2. WriteNote sets it. It
	// is 2 where the log has lost its end: nothing can be made again from that.
	Times int `json:"times"`
	// LostTail is what the leader has told the node of its log, for people. It is empty
	// where the state has diverged.
	LostTail string `json:"lost_tail,omitempty"`
}

// WriteNote makes note, whose Times is set here, the note of dir. It is durable when
// WriteNote returns nil; after an error the previous note may still be there. Calls for one
// directory take turns.
func WriteNote(files wal.FS, dir string, note Note) error {
	note.Times = asideAfter
	if note.LostTail == "" {
		before, err := ReadNote(files, dir)
		if err != nil {
			return err
		}
		note.Times = before.Times + 1
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

// ForgetNote removes the note of dir, if there is one. A crash may bring it back, and it is
// then removed again; nothing depends on its absence.
func ForgetNote(files wal.FS, dir string) error {
	return removeIfThere(files, filepath.Join(dir, noteFile))
}

// ActOnNote does what the note of dir asks for, before anything else of dir is read, and
// logs it. The caller holds dir's lock. After it has set files aside, dir has no identity: its
// node is a new one. A call that was interrupted is finished by the next one.
//
// The error is ErrDivergedAgain, and nothing has changed, if files of another incarnation were
// set aside before. Other errors are those of ReadNote and of the filesystem.
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

// setAside gives the files of the incarnation the prefix aside, each durably, the note last.
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

// checkFirstTime returns ErrDivergedAgain if files of another incarnation than
// aside names were set aside before.
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
