package httpapi

import "github.com/kvorum/kvorum/kv"

// hull is what a request may read, compare or change.
type hull struct {
	kv.Span              // the smallest span that has all of the keys
	leases  []kv.LeaseID // that it attaches keys to, makes or ends
	revokes bool         // it ends a lease, and so may delete any key
	empty   bool         // no key was added yet
}

// hullOf returns the hull of a request.
func hullOf(r *kv.Request) hull {
	h := hull{Span: kv.Span{Start: "\xff", End: "\x00"}, empty: true}
	h.addRequest(r)
	return h
}

func (h *hull) addRequest(r *kv.Request) {
	for i := range r.If {
		h.add(r.If[i].Span)
	}
	for _, branch := range [][]kv.Op{r.Then, r.Else} {
		for i := range branch {
			h.addOp(&branch[i])
		}
	}
}

func (h *hull) addOp(o *kv.Op) {
	if o.Lease != 0 {
		h.leases = append(h.leases, o.Lease)
	}
	switch o.Kind {
	case kv.OpRequest:
		h.addRequest(o.Nested)
	case kv.OpDelete, kv.OpRange:
		h.add(o.Span)
	case kv.OpGrant:
	case kv.OpRevoke:
		h.revokes = true
		h.add(kv.All())
	default:
		h.add(kv.One(o.Key))
	}
}

func (h *hull) add(span kv.Span) {
	switch {
	case span.Empty():
	case h.empty:
		h.Span, h.empty = span, false
	default:
		h.Start = min(h.Start, span.Start)
		if h.End != "" && (span.End == "" || span.End > h.End) {
			h.End = span.End
		}
	}
}
