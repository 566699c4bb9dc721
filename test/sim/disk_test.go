package sim

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// hangTick is the time between two checks whether a hanging change may continue.
const hangTick = 50 * time.Millisecond

// disk is a process's filesystem with its faults. A process that has died keeps a
// filesystem of its own, without faults, until it has noticed its death.
type disk struct {
	fs   *crashfs.FS
	dead <-chan struct{} // closed when the process dies

	mu        sync.Mutex
	rng       *rand.Rand
	slow      time.Duration             // greatest time of one sync
	hang      time.Time                 // no change is made before this time
	countdown int                       // operations until strike; 0 for none
	strike    func(op crashfs.Op) error // called then
}

// newDisk sets the hook of files, which must have no other user.
func newDisk(files *crashfs.FS, rng *rand.Rand, dead <-chan struct{}) *disk {
	d := &disk{fs: files, dead: dead, rng: rng, slow: time.Millisecond}
	files.SetHook(d.before)
	return d
}

// before is called before each operation.
func (d *disk) before(op crashfs.Op, _ string) error {
	if d.isDead() || !op.Mutates() {
		return nil
	}
	if op == crashfs.OpSync || op == crashfs.OpSyncDir {
		d.mu.Lock()
		took := d.slow/10 + time.Duration(d.rng.Int64N(int64(d.slow)))
		d.mu.Unlock()
		d.sleep(took)
	}
	for d.hangs() {
		d.sleep(hangTick)
	}
	if strike := d.count(); strike != nil && !d.isDead() {
		return strike(op)
	}
	return nil
}

// sleep waits for length, or until the process dies.
func (d *disk) sleep(length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.dead:
	}
}

func (d *disk) hangs() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.hang) && !d.isDead()
}

// count counts a change. It returns strike if this change is the one that strike was set
// for.
func (d *disk) count() func(crashfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.countdown == 0 {
		return nil
	}
	if d.countdown--; d.countdown > 0 {
		return nil
	}
	return d.strike
}

func (d *disk) isDead() bool {
	select {
	case <-d.dead:
		return true
	default:
		return false
	}
}

// setSlow makes each sync take up to limit, and a little more, from now on.
func (d *disk) setSlow(limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = limit
}

// stop makes every change hang for a time.
func (d *disk) stop(length time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hang = time.Now().Add(length)
}

// arm makes the nth change from now on, counted from 1, call f. With 0 no change calls it.
func (d *disk) arm(n int, f func(crashfs.Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.countdown, d.strike = n, f
}

// fault returns the error of an operation on a broken disk.
func fault(op crashfs.Op, rng *rand.Rand) error {
	errs := []error{syscall.EIO, crashfs.ErrNoSpace}
	err := errs[rng.IntN(len(errs))]
	if op == crashfs.OpWrite && rng.IntN(2) == 0 {
		return &crashfs.ShortWrite{N: rng.IntN(600), Err: err}
	}
	return err
}

// forgetful is a filesystem that, from some time on, reports syncs of the log that it does
// not make, like a store without syncs.
type forgetful struct {
	wal.FS
	lies *atomic.Bool
}

func (f forgetful) Create(name string) (wal.File, error) {
	file, err := f.FS.Create(name)
	return f.file(file, name), err
}

func (f forgetful) Open(name string) (wal.File, error) {
	file, err := f.FS.Open(name)
	return f.file(file, name), err
}

func (f forgetful) file(file wal.File, name string) wal.File {
	if file == nil || !strings.HasSuffix(name, ".log") {
		return file
	}
	return unsynced{file, f.lies}
}

type unsynced struct {
	wal.File
	lies *atomic.Bool
}

func (u unsynced) Sync() error {
	if u.lies.Load() {
		return nil
	}
	return u.File.Sync()
}

// modelStable is the store below term and vote: one file, replaced atomically.
type modelStable struct {
	fs   wal.FS
	path string
}

var _ raft.StableStore = (*modelStable)(nil)

var errNoKey = errors.New("not found") // raft and the wrapper compare the text

func openModelStable(files wal.FS, path string) (raft.StableStore, io.Closer, error) {
	dir := filepath.Dir(path)
	if err := files.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	if err := files.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, nil, err
	}
	if _, err := files.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := wal.WriteFileAtomic(files, path, nil); err != nil {
			return nil, nil, err
		}
	} else if err != nil {
		return nil, nil, err
	}
	return &modelStable{fs: files, path: path}, io.NopCloser(nil), nil
}

func (m *modelStable) Set(_, value []byte) error {
	return wal.WriteFileAtomic(m.fs, m.path, value)
}

func (m *modelStable) Get([]byte) ([]byte, error) {
	file, err := m.fs.OpenRead(m.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	value, err := io.ReadAll(file)
	if err == nil && len(value) == 0 {
		err = errNoKey
	}
	return value, err
}

// The wrapper above does not use SetUint64 and GetUint64.
func (m *modelStable) SetUint64([]byte, uint64) error   { return errors.ErrUnsupported }
func (m *modelStable) GetUint64([]byte) (uint64, error) { return 0, errors.ErrUnsupported }
