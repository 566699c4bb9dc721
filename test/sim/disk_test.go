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

// hangTick is how often a change that hangs looks whether it may go on.
const hangTick = 50 * time.Millisecond

// disk is a process's filesystem with the faults it has. A process that has died
// keeps its filesystem to itself, without faults, until it has noticed.
type disk struct {
	fs   *crashfs.FS
	dead <-chan struct{} // closed when the process dies

	mu        sync.Mutex
	rng       *rand.Rand
	slow      time.Duration             // greatest time of one sync
	hang      time.Time                 // until then nothing is written
	countdown int                       // operations until strike; 0 for none
	strike    func(op crashfs.Op) error // what happens then
}

// newDisk hooks into files, which nobody else uses.
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

// sleep waits, or until the process dies.
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

// count counts a change, and returns what is to happen if it is the one waited for.
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

// setSlow has each sync take up to limit from now on, and a little more.
func (d *disk) setSlow(limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = limit
}

// stop has nothing written for a time.
func (d *disk) stop(length time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hang = time.Now().Add(length)
}

// arm has the nth change from now on, counted from 1, meet f; 0 takes back what
// was armed before.
func (d *disk) arm(n int, f func(crashfs.Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.countdown, d.strike = n, f
}

// fault returns what a broken disk answers to an operation.
func fault(op crashfs.Op, rng *rand.Rand) error {
	errs := []error{syscall.EIO, crashfs.ErrNoSpace}
	err := errs[rng.IntN(len(errs))]
	if op == crashfs.OpWrite && rng.IntN(2) == 0 {
		return &crashfs.ShortWrite{N: rng.IntN(600), Err: err}
	}
	return err
}

// forgetful is a filesystem that, once told to, says a log's records are durable
// and does nothing for it: what a store without syncs would be.
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

// SetUint64 and GetUint64 are not used by the wrapper above.
func (m *modelStable) SetUint64([]byte, uint64) error   { return errors.ErrUnsupported }
func (m *modelStable) GetUint64([]byte) (uint64, error) { return 0, errors.ErrUnsupported }
