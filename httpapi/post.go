package httpapi

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// Forms of a write of one key, which the parameter op names. POST has all of them. PUT has
// opGetSet, and DELETE has opGetDel.
const (
	opAdd     = "incr"    // adds delta, 1 if it is missing, to a decimal number
	opAppend  = "append"  // adds the body to the end of the value
	opGetSet  = "getset"  // sets the value to the body, and answers with the one before
	opGetDel  = "getdel"  // removes the key, and answers with its value
	opTouch   = "touch"   // gives the key a new time to live
	opPersist = "persist" // removes the deadline of the key
)

// postForms are the forms of POST.
var postForms = []string{opAdd, opAppend, opGetSet, opGetDel, opTouch, opPersist}

// post answers POST /kv/{key}: 200 with the new number, the new length or the value before, 204
// if there is nothing to say.
func (s *Server) post(w *response, r *http.Request) error {
	query, err := parseQuery(r.URL.RawQuery, "op", "delta", "ttl", "lease")
	if err != nil {
		return err
	}
	write, err := s.keyWrite(r, query, postForms)
	if err != nil {
		return err
	}
	if _, given := query["delta"]; given && write.form != opAdd {
		return invalidParam("delta", "is for op="+opAdd+" only")
	}
	switch write.form {
	case opAdd:
		return s.add(w, r, query, write.request(kv.OpAdd))
	case opAppend:
		return s.append(w, r, write.request(kv.OpAppend))
	case opGetSet:
		return s.putBody(w, r, write)
	case opGetDel:
		return s.withoutBody(w, r, func() error { return s.deleteKey(w, write) })
	case opTouch:
		return s.changeDeadline(w, r, write.request(kv.OpTouch))
	case opPersist:
		return s.changeDeadline(w, r, write.request(kv.OpPersist))
	}
	return invalidParam("op", "is required: "+strings.Join(postForms, ", "))
}

// changeDeadline changes the deadline of a key: 204, or 404 if there is no such key.
func (s *Server) changeDeadline(w *response, r *http.Request, write kv.Request) error {
	if err := refuseAttributes(r.Header); err != nil {
		return err
	}
	return s.withoutBody(w, r, func() error {
		result, err := s.do(w, write)
		switch {
		case err != nil:
			return err
		case !result.Existed:
			return errKeyNotFound
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// withoutBody answers a POST request that has no body with next, which is guarded.
func (s *Server) withoutBody(w *response, r *http.Request, next func() error) error {
	if err := w.checkNoBody(r); err != nil {
		return err
	}
	return s.guard(func(*response, *http.Request) error { return next() })(w, r)
}

// add adds a number to a key. The answer's body is the sum.
func (s *Server) add(w *response, r *http.Request, query query, write kv.Request) error {
	if err := refuseAttributes(r.Header); err != nil {
		return err
	}
	delta, err := query.integer("delta", 1)
	if err != nil {
		return err
	}
	write.Then[0].Delta = delta
	return s.withoutBody(w, r, func() error { return s.doNumber(w, write) })
}

// append adds a body to the end of a key's value. The answer's body is the new length.
func (s *Server) append(w *response, r *http.Request, write kv.Request) error {
	if err := refuseAttributes(r.Header); err != nil {
		return err
	}
	value, room, err := s.takeValue(w, r)
	if err != nil {
		return err
	}
	defer room.release()
	write.Then[0].Value, write.Then[0].MaxBytes = value, s.maxValue()
	return s.doNumber(w, write)
}

// doNumber carries out a write whose result is a number, and answers with it, which is a
// JSON text too.
func (s *Server) doNumber(w *response, write kv.Request) error {
	result, err := s.do(w, write)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/json", append(strconv.AppendInt(nil, result.Number, 10), '\n'))
	return nil
}

// refuseAttributes refuses the flags of a key in a write that does not change them.
func refuseAttributes(h http.Header) error {
	if _, given := h[flagsHeader]; given {
		return invalidField(flagsHeader, "is not for this request, which keeps the flags of the key")
	}
	return nil
}

// integer returns the parameter name, a number of 64 bits; otherwise if it is not given.
func (q query) integer(name string, otherwise int64) (int64, error) {
	value, given := q[name]
	if !given {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, invalidParam(name, "must be an integer from "+strconv.FormatInt(math.MinInt64, 10)+" to "+strconv.FormatInt(math.MaxInt64, 10))
	}
	return n, nil
}
