package wal

import (
	"errors"
	"fmt"
	"path/filepath"
)

// nextSuffix is what is appended to the manifest's path while recordEnd writes
// the new content. It differs from tempSuffix: a rotation or truncation may
// replace the manifest meanwhile.
const nextSuffix = ".next"

// recordEnds writes the durable end of the log into the manifest whenever
// RecordDelay has passed since the first append that it does not cover. From
// then on the loss of anything below is found at Open, whatever happens to the
// segment. It ends with Close, or when the log fails.
func (w *WAL) recordEnds() {
	for {
		select {
		case <-w.unrecorded.C:
		case <-w.stop:
			return
		}
		if err := w.recordEnd(); err != nil {
			return
		}
	}
}

// recordEnd replaces the manifest by one with the present durable end, unless
// another replacement has just done so. Appends go on while the new content is
// written and synced: they wait for its renaming alone. An error latches the log,
// but for ErrWALClosed; a disk without room for the new content is none.
func (w *WAL) recordEnd() error {
	m, replaced, err := w.beginRecord()
	if err != nil || len(m.segments) == 0 {
		return err
	}
	next, written, err := w.writeRecord(m)
	if err != nil {
		return err
	}
	if !written {
		return w.postponeRecord()
	}
	installed, err := w.installRecord(next, replaced)
	if err != nil || !installed {
		return err
	}
	if err := w.opts.FS.SyncDir(w.dir); err != nil {
		return w.fail(fmt.Errorf("record the durable end: %w", err))
	}
	return w.endRecord(m)
}

// writeRecord writes m to a new file beside the manifest, and returns its path. It
// reports false where the disk has no room for it: the durable end stays where it is
// until there is room. Any other failure latches the log, as does every one from the
// renaming on.
func (w *WAL) writeRecord(m manifest) (next string, written bool, err error) {
	next = w.manifestPath() + nextSuffix
	err = prepareManifest(w.opts.FS, next, m.encode())
	switch {
	case err == nil:
		if w.noRoom {
			w.noRoom = false
			w.opts.Logger.Info("durable end of the log recorded again")
		}
		return next, true, nil
	case !errors.Is(err, ErrNoRoom):
		return next, false, w.fail(fmt.Errorf("record the durable end: %w", err))
	case !w.noRoom: // once until there is room
		w.noRoom = true
		w.opts.Logger.Warn("durable end of the log not recorded: there is no room; it is tried again", "err", err)
	}
	return next, false, nil
}

// postponeRecord has the durable end recorded later.
func (w *WAL) postponeRecord() error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	w.expectRecord()
	return nil
}

// beginRecord returns the manifest to write, and how often it had been replaced
// before. The manifest is empty where there is nothing to record.
func (w *WAL) beginRecord() (m manifest, replaced uint64, err error) {
	if err := w.lock(); err != nil {
		return manifest{}, 0, err
	}
	defer w.unlock()
	w.recordDue = false
	tail := w.tail()
	if tail == nil || tail.recorded == tail.synced {
		w.expectRecord() // what follows may not be synced yet
		return manifest{}, 0, nil
	}
	return w.manifest(w.first, segmentInfos(w.segs)), w.replaced, nil
}

// installRecord renames the file at next to be the manifest, and reports whether
// it did: one that was written meanwhile is newer, and has a durable end as well.
func (w *WAL) installRecord(next string, replaced uint64) (bool, error) {
	if err := w.lock(); err != nil {
		return false, err
	}
	defer w.unlock()
	replace := func() error { return w.opts.FS.Rename(next, w.manifestPath()) }
	if w.replaced != replaced {
		w.expectRecord()
		replace = func() error { return w.opts.FS.Remove(next) }
	}
	if err := replace(); err != nil {
		return false, w.fail(fmt.Errorf("record the durable end: %w", err))
	}
	return w.replaced == replaced, nil
}

// endRecord notes that m is durable.
func (w *WAL) endRecord(m manifest) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	w.noteRecorded(w.segs, m.segments)
	w.expectRecord()
	return nil
}

// recordLast replaces the manifest by one with the exact end of the log, if it
// has another one. Its caller is Close, which holds slot and has written the
// last marker, and recordEnds has ended.
func (w *WAL) recordLast() error {
	tail := w.tail()
	if tail == nil || tail.recorded == tail.synced {
		return nil
	}
	next, written, err := w.writeRecord(w.manifest(w.first, segmentInfos(w.segs)))
	if err != nil || !written {
		return err
	}
	err = w.opts.FS.Rename(next, w.manifestPath())
	if err == nil {
		err = w.opts.FS.SyncDir(w.dir)
	}
	if err != nil {
		return w.fail(fmt.Errorf("record the durable end: %w", err))
	}
	return nil
}

// noteRecorded takes over from a durable manifest how far the last of segs is
// recorded. The caller holds slot.
func (w *WAL) noteRecorded(segs []*segment, infos []segmentInfo) {
	if len(segs) == 0 || len(infos) == 0 {
		return
	}
	tail, info := segs[len(segs)-1], infos[len(infos)-1]
	if tail.id != info.id || info.sealed {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	tail.recorded = max(tail.recorded, info.end)
}

// expectRecord has the durable end recorded after RecordDelay, unless that is
// expected already or nothing was appended since the last time. The caller holds
// slot.
func (w *WAL) expectRecord() {
	tail := w.tail()
	if w.recordDue || tail == nil || tail.recorded == tail.end {
		return
	}
	w.recordDue = true
	w.unrecorded.Reset(w.opts.RecordDelay)
}

// tail returns the segment that is appended to, nil if there is none. The caller
// holds slot.
func (w *WAL) tail() *segment {
	if n := len(w.segs); n > 0 && !w.segs[n-1].sealed {
		return w.segs[n-1]
	}
	return nil
}

func (w *WAL) manifestPath() string { return filepath.Join(w.dir, ManifestName) }
