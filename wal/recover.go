package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// recovered is the log that Open has found and repaired.
type recovered struct {
	segs   []*segment
	first  uint64
	next   uint64
	nextID segmentID
}

// recovery reads a log's directory. It first checks everything and changes nothing.
// Then it repairs the directory.
type recovery struct {
	dir  string
	opts Options
	man  manifest
	segs []*segment // open, in the manifest's order

	readOnly bool // no file is opened for writing

	strays []string // paths of files that the manifest does not name
	torn   *tornTail
	synced int64 // an offset in the tail: its frames or the manifest prove that bytes below it are durable

	progress progress // of the check
}

// tornTail is an unfinished write that recovery removes from the end of the tail.
type tornTail struct {
	reason  string
	dropped int64 // bytes
}

func recoverLog(dir string, opts Options) (rec recovered, err error) {
	r := &recovery{dir: dir, opts: opts}
	defer func() {
		if err != nil {
			for _, s := range r.segs {
				err = errors.Join(err, s.file.Close())
			}
		}
	}()
	fresh, err := r.readDir()
	if err != nil {
		return recovered{}, err
	}
	if fresh {
		r.man = manifest{owner: opts.Owner, nextID: 1}
		return recovered{nextID: 1}, writeManifest(opts.FS, dir, r.man)
	}
	if err := r.check(); err != nil {
		return recovered{}, err
	}
	if opts.Accept != nil {
		if err := opts.Accept(r.begin()); err != nil {
			return recovered{}, err
		}
	}
	if err := r.repair(); err != nil {
		return recovered{}, err
	}
	for _, s := range r.segs {
		s.synced = s.end
	}
	rec = recovered{segs: r.segs, first: r.begin(), next: r.man.first, nextID: r.man.nextID}
	if n := len(r.segs); n > 0 {
		rec.next = r.segs[n-1].next()
	}
	return rec, nil
}

// begin returns the index of the first record. In an empty log it is the index that
// the next append must have, or 0 for any.
func (r *recovery) begin() uint64 {
	if len(r.segs) == 0 {
		return r.man.first
	}
	return max(r.man.first, r.segs[0].first)
}

// readDir creates the directory if it is missing, and reads the manifest. It reports
// whether there is no log yet.
func (r *recovery) readDir() (fresh bool, err error) {
	fsys := r.opts.FS
	if err := fsys.MkdirAll(r.dir); err != nil {
		return false, err
	}
	if err := fsys.SyncDir(filepath.Dir(r.dir)); err != nil {
		return false, err
	}
	names, err := fsys.ReadDir(r.dir)
	if err != nil {
		return false, err
	}
	r.man, err = r.readManifest()
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return false, err
	}
	if err := r.findStrays(names); err != nil {
		return false, err
	}
	if missing && len(r.strays) > 0 {
		return false, &CorruptionError{
			File:   filepath.Join(r.dir, ManifestName),
			Reason: fmt.Sprintf("manifest is missing, but there is %s", filepath.Base(r.strays[0])),
		}
	}
	return missing, nil
}

// readManifest reads the manifest, as Options say.
func (r *recovery) readManifest() (manifest, error) {
	m, err := readManifest(r.opts.FS, r.dir)
	if n := len(m.segments); r.opts.IgnoreEnd && n > 0 && !m.segments[n-1].sealed {
		tail := &m.segments[n-1]
		tail.last, tail.end = tail.first-1, segmentHeaderSize
	}
	return m, err
}

// findStrays collects the segment files that the manifest does not name.
func (r *recovery) findStrays(names []string) error {
	named := make(map[segmentID]bool, len(r.man.segments))
	for _, s := range r.man.segments {
		named[s.id] = true
	}
	for _, name := range names {
		id, ok := parseSegmentName(name)
		if !ok || named[id] {
			continue
		}
		path := filepath.Join(r.dir, name)
		r.strays = append(r.strays, path)
		if id < r.man.nextID || r.man.nextID == 0 {
			continue
		}
		// A file made ahead was never used. If this one was, the manifest is an old one.
		used, err := r.holdsFrames(path, id)
		if err != nil {
			return err
		}
		if used {
			return &CorruptionError{
				File:   filepath.Join(r.dir, ManifestName),
				Reason: fmt.Sprintf("manifest is older than %s, which holds records", name),
			}
		}
	}
	return nil
}

// holdsFrames reports whether a batch was ever written to a segment's file.
func (r *recovery) holdsFrames(path string, id segmentID) (bool, error) {
	f, err := r.opts.FS.OpenRead(path)
	if err != nil {
		return false, err
	}
	defer f.Close() // read only: nothing to lose
	b := make([]byte, batchSize)
	n, err := f.ReadAt(b, segmentHeaderSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	_, reason := parseFrame(b[:n], segmentSeed(id, r.opts.Owner), segmentHeaderSize)
	return reason == "", nil
}

// check opens and scans every segment that the manifest names.
func (r *recovery) check() error {
	if r.man.owner != r.opts.Owner {
		return &OwnerError{
			File:  filepath.Join(r.dir, ManifestName),
			Found: r.man.owner,
			Want:  r.opts.Owner,
		}
	}
	r.progress.tell = r.opts.Checked
	for _, info := range r.man.segments {
		if info.sealed {
			r.progress.expect(info.end)
		}
	}
	for _, info := range r.man.segments {
		seg, err := r.openSegment(info)
		if err != nil {
			return err
		}
		r.segs = append(r.segs, seg)
		if info.sealed {
			err = r.scanSealed(seg, info)
		} else {
			err = r.scanTail(seg, info)
		}
		if err != nil {
			return fmt.Errorf("check segment %d: %w", info.id, err)
		}
	}
	return r.checkFirst()
}

// checkFirst refuses a log that has lost the record at its first index. The manifest
// names a first index only when the record there is durable.
func (r *recovery) checkFirst() error {
	if len(r.segs) != 1 || r.man.first == 0 {
		return nil
	}
	s := r.segs[0]
	if r.man.first < s.next() || len(s.offsets) == 0 && r.man.first == s.first {
		return nil
	}
	return &CorruptionError{
		File:   s.path,
		Offset: s.end,
		Reason: fmt.Sprintf("ends before index %d, where the log begins", r.man.first),
	}
}

// openSegment opens a segment's file and checks its header and size.
func (r *recovery) openSegment(info segmentInfo) (*segment, error) {
	path := filepath.Join(r.dir, info.id.fileName())
	open := r.opts.FS.Open
	if info.sealed || r.readOnly {
		open = r.opts.FS.OpenRead
	}
	f, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptionError{File: path, Reason: "segment is missing, but the manifest names it"}
	}
	if err != nil {
		return nil, err
	}
	seg := &segment{
		id:     info.id,
		first:  info.first,
		path:   path,
		seed:   segmentSeed(info.id, r.opts.Owner),
		file:   r.opts.open.add(path, f, info.sealed),
		sealed: info.sealed,
	}
	seg.refs.Store(1)
	if err := r.checkHeader(seg, info); err != nil {
		return nil, errors.Join(err, seg.file.Close())
	}
	return seg, nil
}

func (r *recovery) checkHeader(seg *segment, info segmentInfo) error {
	size, err := seg.file.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", seg.path, err)
	}
	corrupt := func(off int64, reason string) error {
		return &CorruptionError{File: seg.path, Offset: off, Reason: reason}
	}
	if size < segmentHeaderSize {
		return corrupt(size, "segment is shorter than its header")
	}
	b := make([]byte, segmentHeaderSize)
	if n, err := seg.file.ReadAt(b, 0); n < len(b) {
		return fmt.Errorf("read %s: %w", seg.path, err)
	}
	h, err := decodeSegmentHeader(seg.path, b)
	if err != nil {
		return err
	}
	switch {
	case h.owner != r.opts.Owner:
		return &OwnerError{File: seg.path, Found: h.owner, Want: r.opts.Owner}
	case h.id != info.id:
		return corrupt(12, fmt.Sprintf("header says segment %d", h.id))
	case h.first != info.first:
		return corrupt(20, fmt.Sprintf("header says first index %d, the manifest %d", h.first, info.first))
	case size < h.size:
		return corrupt(size, fmt.Sprintf("segment is shorter than the %d bytes it began with", h.size))
	case size < info.end:
		return corrupt(size, fmt.Sprintf("segment is shorter than its durable end at %d", info.end))
	case size > maxSegmentFile:
		return corrupt(maxSegmentFile, "segment is longer than any can be")
	}
	seg.size = size
	return nil
}

// scanSealed reads a segment of which every frame must be good.
func (r *recovery) scanSealed(seg *segment, info segmentInfo) error {
	c, err := scanSegment(r.progress.watch(seg.file), seg.first, seg.seed, info.end, true)
	if bad, ok := errors.AsType[*badFrame](err); ok {
		return &CorruptionError{File: seg.path, Offset: bad.off, Reason: bad.reason}
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", seg.path, err)
	}
	seg.offsets, seg.end = c.offsets, c.end
	if seg.next() != info.last+1 {
		return &CorruptionError{
			File:   seg.path,
			Offset: info.end,
			Reason: fmt.Sprintf("segment ends with index %d, the manifest says %d", seg.next()-1, info.last),
		}
	}
	return nil
}

// scanTail reads the tail. A bad end is a torn tail only if nothing proves that it had
// been synced: neither the manifest nor a frame of the segment.
func (r *recovery) scanTail(seg *segment, info segmentInfo) error {
	r.progress.expect(seg.size)
	c, err := scanSegment(r.progress.watch(seg.file), seg.first, seg.seed, seg.size, false)
	bad, torn := errors.AsType[*badFrame](err)
	if err != nil && !torn {
		return fmt.Errorf("read %s: %w", seg.path, err)
	}
	seg.offsets, seg.end, seg.marked = c.offsets, c.end, c.marked
	seg.savedEnd, r.synced = info.end, max(c.synced, info.end)
	if !torn {
		return checkRecords(seg, info)
	}
	corrupt := &CorruptionError{File: seg.path, Offset: bad.off, Reason: bad.reason}
	if !bad.torn {
		return corrupt
	}
	if info.end > c.end {
		corrupt.Reason = fmt.Sprintf("%s, below offset %d up to which the log was durable, with records to %d", bad.reason, info.end, info.last)
		return corrupt
	}
	e, err := findEvidence(seg.file, seg.seed, c.end, bad.after, seg.size)
	if err != nil {
		return fmt.Errorf("read %s: %w", seg.path, err)
	}
	if e.synced > c.end {
		corrupt.Reason = fmt.Sprintf("%s, below offset %d which was synced", bad.reason, e.synced)
		return corrupt
	}
	if e.end > c.end {
		r.torn = &tornTail{reason: bad.reason, dropped: e.end - c.end}
	}
	return checkRecords(seg, info)
}

// checkRecords refuses a tail whose records below the durable end differ from those
// that the manifest names.
func checkRecords(seg *segment, info segmentInfo) error {
	last := seg.first + seg.recordsBelow(info.end) - 1
	if last == info.last {
		return nil
	}
	return &CorruptionError{
		File:   seg.path,
		Offset: info.end,
		Reason: fmt.Sprintf("segment has records to %d below this offset, the manifest says %d", last, info.last),
	}
}

// repair makes the log durable as it was found, removes a torn tail, and deletes files
// that are not part of the log.
func (r *recovery) repair() error {
	// The previous process may have died between a rename and its sync. The manifest
	// must be durable before anything depends on it.
	if err := r.opts.FS.SyncDir(r.dir); err != nil {
		return err
	}
	if err := r.repairTail(); err != nil {
		return err
	}
	for _, path := range r.strays {
		if err := r.opts.FS.Remove(path); err != nil {
			return err
		}
	}
	for _, suffix := range []string{tempSuffix, nextSuffix} {
		err := r.opts.FS.Remove(filepath.Join(r.dir, ManifestName+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// repairTail makes the tail's end durable. A torn tail is sealed in the manifest, so
// that its bytes are never used again; a tail without records is removed.
func (r *recovery) repairTail() error {
	n := len(r.segs)
	if n == 0 || r.segs[n-1].sealed {
		return nil
	}
	tail := r.segs[n-1]
	if err := r.rewriteUnproven(tail); err != nil {
		return fmt.Errorf("make the end of %s durable: %w", tail.path, err)
	}
	empty := len(tail.offsets) == 0
	if r.torn == nil && !empty {
		return nil
	}
	tail.sealed = true
	tail.file.seal()
	if empty {
		r.segs = r.segs[:n-1]
		r.strays = append(r.strays, tail.path)
		if err := tail.file.Close(); err != nil {
			return err
		}
	}
	r.man.segments = segmentInfos(r.segs)
	if err := writeManifest(r.opts.FS, r.dir, r.man); err != nil {
		return err
	}
	if r.torn != nil {
		r.opts.Logger.Warn("torn tail of the log removed: a write before the last stop was never finished",
			"file", tail.path, "offset", tail.end, "bytes", r.torn.dropped, "reason", r.torn.reason)
	}
	return nil
}

// rewriteUnproven writes the bytes that nothing proves durable to the same place
// again, and syncs them. They are one batch or one marker. After a failed sync the
// operating system may return data that never reached the disk and treat it as
// clean, so that another sync alone would do nothing.
func (r *recovery) rewriteUnproven(tail *segment) error {
	buf := make([]byte, min(scanBuffer, tail.end-r.synced))
	for off := r.synced; off < tail.end; {
		b := buf[:min(int64(len(buf)), tail.end-off)]
		if n, err := tail.file.ReadAt(b, off); n < len(b) {
			return err
		}
		if _, err := tail.file.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return tail.file.Sync()
}
