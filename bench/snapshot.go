package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/wal"
)

const (
	// snapshotLog is the number of bytes of log between two snapshots here. It is so small
	// that a snapshot is due at each check of the node.
	snapshotLog = 256 << 10
	// snapshotNever is more bytes of log than a measurement writes.
	snapshotNever = 1 << 40
	// snapshotRounds is the number of rounds of a node without snapshots and one with them.
	snapshotRounds = 2
	// snapshotAfter is the time for which a snapshot still counts as being written after it
	// is durable: the log that it covers is dropped then.
	snapshotAfter = 100 * time.Millisecond
)

// watchedFS is the operating system's filesystem. It records when a snapshot is being
// written: from the creation of the first file until its directory is renamed.
type watchedFS struct {
	wal.FS
	under  atomic.Bool  // a snapshot is being written
	ended  atomic.Int64 // when the newest one ended, in nanoseconds since began
	number atomic.Int64 // of snapshots that ended
	began  time.Time
}

func newWatchedFS() *watchedFS {
	w := &watchedFS{FS: wal.OS(), began: time.Now()}
	w.ended.Store(-int64(snapshotAfter))
	return w
}

// Create implements wal.FS.
func (w *watchedFS) Create(name string) (wal.File, error) {
	if filepath.Base(filepath.Dir(filepath.Dir(name))) == "snapshots" {
		w.under.Store(true)
	}
	return w.FS.Create(name)
}

// Rename implements wal.FS.
func (w *watchedFS) Rename(from, to string) error {
	err := w.FS.Rename(from, to)
	if filepath.Base(filepath.Dir(to)) == "snapshots" && filepath.Ext(to) == "" {
		w.ended.Store(int64(time.Since(w.began)))
		w.under.Store(false)
		w.number.Add(1)
	}
	return err
}

// snapshotting reports whether a snapshot is being written, or ended less than
// snapshotAfter ago.
func (w *watchedFS) snapshotting() bool {
	return w.under.Load() || time.Since(w.began)-time.Duration(w.ended.Load()) < snapshotAfter
}

// latencies is a histogram of times in microseconds.
type latencies struct{ *hdrhistogram.Histogram }

func newLatencies() latencies {
	return latencies{hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
}

// add adds one time.
func (l latencies) add(d time.Duration) error { return l.RecordValue(d.Microseconds()) }

func (l latencies) p99() time.Duration {
	return time.Duration(l.ValueAtQuantile(99)) * time.Microsecond
}

// String returns the quantiles that tables show.
func (l latencies) String() string {
	p50 := time.Duration(l.ValueAtQuantile(50)) * time.Microsecond
	return fmt.Sprintf("%s, %s", took(p50), took(l.p99()))
}

// besideSnapshots are the times of puts while a snapshot was being written, and of other
// puts.
type besideSnapshots struct {
	during, without latencies
	snapshots       int64
}

// putsBesideSnapshots puts random keys of a node while it takes no snapshots, and while it
// takes one after the other, in turn and for d each.
func putsBesideSnapshots(ctx context.Context, cfg cluster.Config, clients, keys, valueBytes int, d time.Duration) (besideSnapshots, error) {
	fs := newWatchedFS()
	cfg.FS = fs
	b := besideSnapshots{during: newLatencies(), without: newLatencies()}
	for range snapshotRounds {
		for _, cfg.SnapshotBytes = range []int64{snapshotNever, snapshotLog} {
			err := b.measure(ctx, cfg, fs, clients, d, func(r *rand.Rand) (string, []byte) {
				return keyOf(r.IntN(keys)), make([]byte, valueBytes)
			})
			if err != nil {
				return b, err
			}
		}
	}
	b.snapshots = fs.number.Load()
	return b, nil
}

// measure opens a node and adds the times of the puts that its clients make in d.
func (b *besideSnapshots) measure(ctx context.Context, cfg cluster.Config, fs *watchedFS, clients int, d time.Duration, pick func(*rand.Rand) (string, []byte)) (err error) {
	node, err := openNode(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	done := make(chan put, 64<<10)
	var failed error // written before done is closed
	go func() {
		defer close(done)
		_, failed = hammer(clients, d, func(r *rand.Rand) error {
			key, value := pick(r)
			p := put{snapshot: fs.snapshotting()}
			began := time.Now()
			_, err := node.Do(ctx, kv.Put(key, value))
			p.time = time.Since(began)
			p.snapshot = p.snapshot || fs.snapshotting()
			done <- p
			return err
		})
	}()
	for p := range done {
		into := b.without
		if p.snapshot {
			into = b.during
		}
		err = errors.Join(err, into.add(p.time))
	}
	return errors.Join(err, failed)
}

// put is the time of a put, and whether a snapshot was being written.
type put struct {
	time     time.Duration
	snapshot bool
}
