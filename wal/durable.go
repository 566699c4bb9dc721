package wal

import (
	"errors"
	"fmt"
	"path/filepath"
)

// nextSuffix is the suffix of the file beside the manifest in which saveEnd writes the
// new content. It differs from tempSuffix: a rotation or truncation may replace
// the manifest meanwhile.
const nextSuffix = ".next"

// saveEnds writes the durable end of the log into the manifest whenever
// DurableEndDelay has passed since the first append behind the saved one. From
// then on Open finds the loss of any byte below it, even if the segment is lost as
// a whole. The goroutine ends with Close, or when the log fails.
func (w *WAL) saveEnds() {
	for {
		select {
		case <-w.saveTimer.C:
		case <-w.stop:
			return
		}
		if err := w.saveEnd(); err != nil {
			return
		}
	}
}

// saveEnd replaces the manifest by one with the present durable end, unless
// another replacement has just done so. Appends continue while the new content is
// written and synced; they wait only for the rename. An error latches the log,
// except ErrWALClosed. A disk without room for the new content is no error.
func (w *WAL) saveEnd() error {
	m, replaced, err := w.beginSave()
	if err != nil || len(m.segments) == 0 {
		return err
	}
	next, written, err := w.writeNextManifest(m)
	if err != nil {
		return err
	}
	if !written {
		return w.postponeSave()
	}
	installed, err := w.installNextManifest(next, replaced)
	if err != nil || !installed {
		return err
	}
	if err := w.opts.FS.SyncDir(w.dir); err != nil {
		return w.fail(fmt.Errorf("save the durable end: %w", err))
	}
	return w.endSave(m)
}

// writeNextManifest writes m to a new file beside the manifest, and returns its path. It
// reports false where the disk has no room for it: the saved durable end stays as it is
// until there is room. Any other failure latches the log, and so does every failure of
// the rename and of the steps after it.
func (w *WAL) writeNextManifest(m manifest) (next string, written bool, err error) {
	next = w.manifestPath() + nextSuffix
	err = prepareManifest(w.opts.FS, next, m.encode())
	switch {
	case err == nil:
		if w.noRoom {
			w.noRoom = false
			w.opts.Logger.Info("durable end of the log saved again")
		}
		return next, true, nil
	case !errors.Is(err, ErrNoRoom):
		return next, false, w.fail(fmt.Errorf("save the durable end: %w", err))
	case !w.noRoom: // logged once until there is room
		w.noRoom = true
		w.opts.Logger.Warn("durable end of the log not saved: there is no room; it is tried again", "err", err)
	}
	return next, false, nil
}

// postponeSave schedules another attempt to save the durable end.
func (w *WAL) postponeSave() error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	w.scheduleSave()
	return nil
}

// beginSave returns the manifest to write, and the number of its replacements so
// far. The manifest is empty where there is nothing to save.
func (w *WAL) beginSave() (m manifest, replaced uint64, err error) {
	if err := w.lock(); err != nil {
		return manifest{}, 0, err
	}
	defer w.unlock()
	w.saveDue = false
	tail := w.tail()
	if tail == nil || tail.savedEnd == tail.synced {
		w.scheduleSave() // later records may not be synced yet
		return manifest{}, 0, nil
	}
	return w.manifest(w.first, segmentInfos(w.segs)), w.replaced, nil
}

// installNextManifest renames the file at next to be the manifest, and reports whether
// it did. A manifest that was written meanwhile stays: it is newer, and has a durable
// end as well.
func (w *WAL) installNextManifest(next string, replaced uint64) (bool, error) {
	if err := w.lock(); err != nil {
		return false, err
	}
	defer w.unlock()
	replace := func() error { return w.opts.FS.Rename(next, w.manifestPath()) }
	if w.replaced != replaced {
		w.scheduleSave()
		replace = func() error { return w.opts.FS.Remove(next) }
	}
	if err := replace(); err != nil {
		return false, w.fail(fmt.Errorf("save the durable end: %w", err))
	}
	return w.replaced == replaced, nil
}

// endSave takes over the durable end of m, which is durable now.
func (w *WAL) endSave(m manifest) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	w.noteSavedEnd(w.segs, m.segments)
	w.scheduleSave()
	return nil
}

// saveLastEnd replaces the manifest by one with the exact end of the log, unless it
// already has that. Its caller is Close, which holds writeLock and has written the
// last marker; saveEnds has ended.
func (w *WAL) saveLastEnd() error {
	tail := w.tail()
	if tail == nil || tail.savedEnd == tail.synced {
		return nil
	}
	next, written, err := w.writeNextManifest(w.manifest(w.first, segmentInfos(w.segs)))
	if err != nil || !written {
		return err
	}
	err = w.opts.FS.Rename(next, w.manifestPath())
	if err == nil {
		err = w.opts.FS.SyncDir(w.dir)
	}
	if err != nil {
		return w.fail(fmt.Errorf("save the durable end: %w", err))
	}
	return nil
}

// noteSavedEnd takes the saved durable end of the last of segs from a durable
// manifest. The caller holds writeLock.
func (w *WAL) noteSavedEnd(segs []*segment, infos []segmentInfo) {
	if len(segs) == 0 || len(infos) == 0 {
		return
	}
	tail, info := segs[len(segs)-1], infos[len(infos)-1]
	if tail.id != info.id || info.sealed {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	tail.savedEnd = max(tail.savedEnd, info.end)
}

// scheduleSave starts the timer that saves the durable end after DurableEndDelay. It
// does nothing if the timer runs, or if nothing was appended since the last save. The
// caller holds writeLock.
func (w *WAL) scheduleSave() {
	tail := w.tail()
	if w.saveDue || tail == nil || tail.savedEnd == tail.end {
		return
	}
	w.saveDue = true
	w.saveTimer.Reset(w.opts.DurableEndDelay)
}

// tail returns the segment to which batches are appended, or nil if there is none.
// The caller holds writeLock.
func (w *WAL) tail() *segment {
	if n := len(w.segs); n > 0 && !w.segs[n-1].sealed {
		return w.segs[n-1]
	}
	return nil
}

func (w *WAL) manifestPath() string { return filepath.Join(w.dir, ManifestName) }
