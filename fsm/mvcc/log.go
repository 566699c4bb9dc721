package mvcc

import (
	"sort"
	"sync/atomic"
)

// pageRefs is the number of refs of a page of the revision log: a page takes 32 KiB.
const pageRefs = 4096

// revisionLog has the refs of all versions in the order of their changes, from the oldest
// change that is kept on. Positions in it are numbers that are not used again. One goroutine
// at a time may change it; any number may read it meanwhile.
type revisionLog struct {
	pages atomic.Pointer[logPages]
	// published is the end of the changes that readers may see.
	published atomic.Uint64

	// Both belong to the writer.
	first, end uint64 // positions of the oldest change, and behind the newest
}

// logPages are consecutive pages.
type logPages struct {
	base  uint64 // position of the first page's first ref
	pages []*logPage
}

type logPage [pageRefs]ref

func (l *revisionLog) init() { l.pages.Store(new(logPages)) }

// append adds the ref of a change.
func (l *revisionLog) append(r ref) {
	at := l.pages.Load()
	i := l.end - at.base
	if i == uint64(len(at.pages))*pageRefs {
		at = &logPages{base: at.base, pages: append(at.pages[:len(at.pages):len(at.pages)], new(logPage))}
		l.pages.Store(at)
	}
	at.pages[i/pageRefs][i%pageRefs] = r
	l.end++
}

// reserve makes room for n changes in an empty log. set puts them into it.
func (l *revisionLog) reserve(n uint64) {
	pages := make([]*logPage, (n+pageRefs-1)/pageRefs)
	for i := range pages {
		pages[i] = new(logPage)
	}
	l.pages.Store(&logPages{pages: pages})
	l.end = n
}

// set puts the ref of a change at a position that reserve has made, and reports whether there
// was none.
func (l *revisionLog) set(position uint64, r ref) bool {
	at := &l.pages.Load().pages[position/pageRefs][position%pageRefs]
	empty := *at == 0
	*at = r
	return empty
}

// publish lets readers see all changes.
func (l *revisionLog) publish() { l.published.Store(l.end) }

// at returns the ref at a position, 0 if it is before the pages. A reader may ask for
// positions below published.
func (l *revisionLog) at(position uint64) ref { return l.pages.Load().at(position) }

func (p *logPages) at(position uint64) ref {
	if position < p.base {
		return 0
	}
	i := position - p.base
	return p.pages[i/pageRefs][i%pageRefs]
}

// drop removes the oldest change.
func (l *revisionLog) drop() {
	l.first++
	at := l.pages.Load()
	if l.first-at.base < pageRefs {
		return
	}
	l.pages.Store(&logPages{base: at.base + pageRefs, pages: append([]*logPage(nil), at.pages[1:]...)})
}

// len returns the number of changes.
func (l *revisionLog) len() int { return int(l.end - l.first) }

// bytes returns the memory of the log.
func (l *revisionLog) bytes() int64 { return int64(len(l.pages.Load().pages)) * pageRefs * 8 }

// search returns the position of the first published change that is of a revision and at or
// after an order in it, or of a later revision.
func (l *revisionLog) search(a *arena, revision uint64, order uint32) uint64 {
	end := l.published.Load()
	pages := l.pages.Load() // has all changes before end that are not dropped
	reached := func(position uint64) bool {
		rec := a.at(pages.at(position))
		// A record that is gone was superseded at a revision that is compacted.
		if rec.isZero() {
			return false
		}
		at := rec.head().revision()
		return at > revision || at == revision && (order == 0 || rec.version().Order >= order)
	}
	first, last := pages.base, max(end, pages.base)
	// Most readers want one of the newest changes, whose records are in the cache.
	for step := uint64(1); step <= last-first; step *= 2 {
		if !reached(last - step) {
			first = last - step + 1
			break
		}
		last -= step
	}
	return first + uint64(sort.Search(int(last-first), func(i int) bool { return reached(first + uint64(i)) }))
}
