package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Report describes the log that Check has read.
type Report struct {
	Owner    Owner
	First    uint64 // index of the first record; 0 where there is none
	Last     uint64 // index of the last record; 0 where there is none
	Begin    uint64 // First, or in an empty log the index that the next append must have; 0 for any
	Segments []SegmentReport
	// TornBytes is the length of the torn tail, which the next Open removes: a write
	// that was never finished.
	TornBytes int64
}

// SegmentReport describes one segment of a log.
type SegmentReport struct {
	File    string // path
	First   uint64 // index of its first record
	Records int
	Bytes   int64 // of header and frames
	// Durable is the number of these bytes that were synced when the manifest was
	// written. The loss of any of them is always found.
	Durable int64
	Sealed  bool
}

// Check reads a log that nobody has open and checks every record, as Open does. It
// changes nothing. With an error, the report describes the good part in front of
// it. The error is a *CorruptionError, a *VersionError, fs.ErrNotExist where there
// is no log, or that of a read. A nil fsys is the operating system's.
func Check(fsys FS, dir string) (Report, error) {
	opts, err := Options{FS: fsys}.withDefaults()
	if err != nil {
		return Report{}, err
	}
	r := &recovery{dir: dir, opts: opts, readOnly: true}
	err = r.inspect()
	report := r.report()
	for _, s := range r.segs {
		err = errors.Join(err, s.file.Close())
	}
	if err != nil {
		return report, fmt.Errorf("check log %s: %w", dir, err)
	}
	return report, nil
}

// OwnerOf returns the owner of the log in dir, as its manifest says; the segments are not
// read. The error is a *CorruptionError, a *VersionError, fs.ErrNotExist where there is no
// manifest, or that of a read. A nil fsys is the operating system's.
func OwnerOf(fsys FS, dir string) (Owner, error) {
	if fsys == nil {
		fsys = OS()
	}
	m, err := readManifest(fsys, dir)
	if err != nil {
		return Owner{}, fmt.Errorf("owner of log %s: %w", dir, err)
	}
	return m.owner, nil
}

// Scan checks a log as Check does, and then calls visit with each record from index
// from to the last, in order. The first error of visit ends it and is returned. The
// payload is valid only until visit returns.
func Scan(fsys FS, dir string, from uint64, visit func(index uint64, f Frame) error) error {
	opts, err := Options{FS: fsys}.withDefaults()
	if err != nil {
		return err
	}
	r := &recovery{dir: dir, opts: opts, readOnly: true}
	err = r.inspect()
	if err == nil {
		err = r.visit(max(from, r.begin()), visit)
	}
	for _, s := range r.segs {
		err = errors.Join(err, s.file.Close())
	}
	if err != nil {
		return fmt.Errorf("scan log %s: %w", dir, err)
	}
	return nil
}

// visit calls its argument with each record from an index to the last.
func (r *recovery) visit(from uint64, visit func(index uint64, f Frame) error) error {
	for _, s := range r.segs {
		for index := max(from, s.first); index < s.next(); index++ {
			k := index - s.first
			at := location{seg: s, off: int64(s.offsets[k]), end: s.end}
			if k+1 < uint64(len(s.offsets)) {
				at.end = int64(s.offsets[k+1])
			}
			f, err := at.read()
			if err != nil {
				return err
			}
			if err := visit(index, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// inspect reads and checks everything. The owner that it expects is the manifest's.
func (r *recovery) inspect() error {
	names, err := r.opts.FS.ReadDir(r.dir)
	if err != nil {
		return err
	}
	r.man, err = r.readManifest()
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	r.opts.Owner = r.man.owner
	if err := r.findStrays(names); err != nil {
		return err
	}
	if missing && len(r.strays) > 0 {
		return &CorruptionError{File: filepath.Join(r.dir, ManifestName), Reason: "manifest is missing, but there are segments"}
	}
	if missing {
		return fmt.Errorf("no log: %w", fs.ErrNotExist)
	}
	return r.check()
}

// report returns a Report of the segments that have been read.
func (r *recovery) report() Report {
	report := Report{Owner: r.man.owner, Begin: r.begin()}
	for _, s := range r.segs {
		durable := s.end
		if !s.sealed {
			durable = s.savedEnd
		}
		report.Segments = append(report.Segments, SegmentReport{
			File: s.path, First: s.first, Records: len(s.offsets), Bytes: s.end, Durable: durable, Sealed: s.sealed,
		})
		if len(s.offsets) > 0 {
			report.First, report.Last = r.begin(), s.next()-1
		}
	}
	if r.torn != nil {
		report.TornBytes = r.torn.dropped
	}
	return report
}
