package wal

import (
	"errors"
	"fmt"
	"path/filepath"
)

// preparation is a segment file made ahead of its use, or the error of making it.
type preparation struct {
	file File
	err  error
}

// prepare starts to make the next segment's file in the background, once. A failure
// stays in prepared until a writer needs the segment, or Seal is called again, so that
// a full disk is not tried with every append. The caller holds writeLock.
func (w *WAL) prepare() {
	if w.preparing {
		return
	}
	w.preparing = true
	path := w.segmentPath(w.nextID)
	w.wg.Go(func() {
		f, err := w.createFile(path)
		if err != nil {
			// Not final: the writer that needs the segment tries again.
			w.opts.Logger.Warn("segment not prepared ahead", "file", path, "err", err)
		}
		w.prepared <- preparation{f, err}
	})
}

// Seal makes the log begin a new segment soon: with the next append after the new file
// has been made. This append waits until the new segment's header and the manifest are
// durable, but not for the file to be filled. TruncateFront frees whole segments only,
// so its caller seals at the place of the next truncation. Two kinds of segments stay
// as they are: one that holds little, and one whose successor's file can't be made.
// For the second kind Seal must be called again.
func (w *WAL) Seal() error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	n := len(w.segs)
	if n == 0 || w.segs[n-1].sealed || w.segs[n-1].end < w.sealWorth() {
		return nil
	}
	w.dropFailed()
	w.prepare()
	w.sealing = w.segs[n-1].id
	return nil
}

// tailOrNext returns the segment for a batch that fits tail: a new one if Seal has
// asked for it and the disk has room for it, otherwise tail.
func (w *WAL) tailOrNext(tail *segment, first uint64) (*segment, error) {
	if !w.sealsNow(tail) {
		return tail, nil
	}
	seg, err := w.rotate(first)
	if errors.Is(err, ErrNoRoom) {
		w.sealing = 0
		w.opts.Logger.Warn("segment not ended early: there is no room for the next one", "file", tail.path, "err", err)
		return tail, nil
	}
	return seg, err
}

// sealWorth returns the minimum size in bytes of a segment that Seal ends.
func (w *WAL) sealWorth() int64 { return min(2*growBytes, w.opts.MaxSegmentSize/4) }

// sealsNow reports whether tail ends now because of Seal. It does not end if the next
// file could not be made, on a full disk for instance: tail has room, and nothing
// depends on that file. The caller holds writeLock.
func (w *WAL) sealsNow(tail *segment) bool {
	if w.sealing != tail.id {
		return false
	}
	if w.dropFailed() {
		w.sealing = 0
		return false
	}
	return len(w.prepared) > 0
}

// dropFailed removes a preparation that has failed, so that another one can begin, and
// reports whether there was one. The caller holds writeLock.
func (w *WAL) dropFailed() bool {
	select {
	case p := <-w.prepared:
		if p.err != nil {
			w.preparing = false
			return true
		}
		w.prepared <- p // it does not block: nothing else is sent before takeFile has taken this
	default:
	}
	return false
}

// rotate starts a new segment whose first record will be first. Before the new segment
// is used, the manifest seals the previous one and names the new one.
func (w *WAL) rotate(first uint64) (*segment, error) {
	if err := w.syncTail(); err != nil {
		return nil, err // a sealed segment must be durable
	}
	id := w.nextID
	file, err := w.takeFile(id)
	if err != nil {
		return nil, fmt.Errorf("create segment %d: %w", id, err)
	}
	seg := &segment{
		id:    id,
		first: first,
		path:  w.segmentPath(id),
		seed:  segmentSeed(id, w.opts.Owner),
		file:  w.opts.open.add(w.segmentPath(id), file, false),
		end:   segmentHeaderSize,
		size:  w.initialSize(),

		synced:   segmentHeaderSize,
		savedEnd: segmentHeaderSize,
	}
	seg.refs.Store(1)
	w.nextID++
	header := segmentHeader{id: id, first: first, size: seg.size, owner: w.opts.Owner}
	if err := writeHeader(file, header); err != nil {
		return nil, errors.Join(fmt.Errorf("write header of segment %d: %w", id, err), seg.file.Close())
	}
	infos := segmentInfos(w.segs)
	if n := len(infos); n > 0 {
		tail := w.segs[n-1]
		infos[n-1] = segmentInfo{id: tail.id, first: tail.first, sealed: true, last: tail.next() - 1, end: tail.end}
	}
	if err := w.replaceManifest(w.first, append(infos, seg.info())); err != nil {
		return nil, w.abandonSegment(seg, err)
	}
	if n := len(w.segs); n > 0 {
		w.segs[n-1].file.seal()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.segs); n > 0 {
		w.segs[n-1].sealed = true
	}
	w.segs = append(w.segs, seg)
	return seg, nil
}

// abandonSegment closes the file of a segment after the manifest could not be replaced
// because of err, and returns err. With ErrNoRoom no manifest names the file: it is
// deleted, since it takes room on a full disk. If that fails too, or if the manifest
// may name the file, the returned error is no ErrNoRoom.
func (w *WAL) abandonSegment(seg *segment, err error) error {
	closed := seg.file.Close()
	if errors.Is(err, ErrNoRoom) && closed == nil {
		closed = w.opts.FS.Remove(seg.path)
	}
	if closed != nil {
		return fmt.Errorf("segment %d: %w, after: %s", seg.id, closed, err.Error())
	}
	return err
}

// takeFile returns the file that was prepared for segment id, or makes it now.
func (w *WAL) takeFile(id segmentID) (File, error) {
	if w.preparing {
		p := <-w.prepared
		w.preparing = false
		if p.err == nil {
			return p.file, nil
		}
	}
	return w.createFile(w.segmentPath(id))
}

// createFile makes a segment's file, filled with zeros, and makes it durable
// under its name. The zeros are synced here and not with the header: a file that is
// made ahead then costs the writer little. An error leaves no file, since one
// that is half full of zeros takes room on a full disk.
func (w *WAL) createFile(path string) (File, error) {
	f, err := w.opts.FS.Create(path)
	if err != nil {
		return nil, err
	}
	err = fillZeros(f, 0, w.initialSize())
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = w.opts.FS.SyncDir(w.dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), w.opts.FS.Remove(path))
	}
	return f, nil
}

// initialSize returns the size in bytes of a segment's file before its first use.
func (w *WAL) initialSize() int64 {
	return max(segmentHeaderSize, min(growBytes, w.opts.MaxSegmentSize))
}

func writeHeader(f File, h segmentHeader) error {
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	return f.Sync()
}

func (w *WAL) segmentPath(id segmentID) string {
	return filepath.Join(w.dir, id.fileName())
}

// replaceManifest makes a new list of segments and a first index durable.
func (w *WAL) replaceManifest(first uint64, infos []segmentInfo) error {
	w.replaced++
	if err := writeManifest(w.opts.FS, w.dir, w.manifest(first, infos)); err != nil {
		return err
	}
	w.noteSavedEnd(w.segs, infos)
	return nil
}

// manifest returns the manifest with a list of segments and a first index. The
// caller holds writeLock.
func (w *WAL) manifest(first uint64, infos []segmentInfo) manifest {
	return manifest{owner: w.opts.Owner, first: first, nextID: w.nextID, segments: infos}
}

// segmentInfos returns the description of segs for the manifest.
func segmentInfos(segs []*segment) []segmentInfo {
	infos := make([]segmentInfo, 0, len(segs)+1)
	for _, s := range segs {
		infos = append(infos, s.info())
	}
	return infos
}
