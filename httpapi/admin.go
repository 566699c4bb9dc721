package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// maxAdminBody is the maximum length of the body of an /admin/ request.
const maxAdminBody = 64 << 10

// join answers POST /admin/join with the member that was added.
func (s *Server) join(w *response, r *http.Request) error {
	var req kv.JoinRequest
	if err := s.takeRequest(w, r, &req); err != nil {
		return err
	}
	if req.ID == "" {
		return invalidField("id", "is required")
	}
	if req.PeerAddr == "" {
		return invalidField("peer_addr", "is required")
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	member, err := s.node.Join(ctx, req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", member)
	return nil
}

// leave answers POST /admin/leave: it removes the member that "id" names, or this node if
// there is no id. "force" removes it even if too few live voters would be left.
func (s *Server) leave(w *response, r *http.Request) error {
	var req api.LeaveRequest
	if err := s.takeRequest(w, r, &req); err != nil {
		return err
	}
	name, err := givenName(req.ID, "leave it out for this node")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	if err := s.node.Leave(ctx, kv.LeaveRequest{ID: name, Force: req.Force}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// transfer answers POST /admin/transfer: it hands leadership to the voter that "id" names,
// or to one that is ready if there is no id.
func (s *Server) transfer(w *response, r *http.Request) error {
	name, err := s.takeName(w, r, "leave it out for any voter")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	if err := s.node.Transfer(ctx, name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// snapshot answers POST /admin/snapshot with a kv.SnapshotResult: the member that "id"
// names, or this node if there is no id, takes a snapshot and drops the log that it covers.
func (s *Server) snapshot(w *response, r *http.Request) error {
	name, err := s.takeName(w, r, "leave it out for this node")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	result, err := s.node.Snapshot(ctx, name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", result)
	return nil
}

// takeName reads a body that has no member but "id", and returns the id.
func (s *Server) takeName(w *response, r *http.Request, advice string) (string, error) {
	var req api.MemberRequest
	if err := s.takeRequest(w, r, &req); err != nil {
		return "", err
	}
	return givenName(req.ID, advice)
}

// givenName returns the name in a body, "" if there is none. An empty name is refused,
// because its cause is probably an unset variable of a script.
func givenName(name *string, advice string) (string, error) {
	switch {
	case name == nil:
		return "", nil
	case *name == "":
		return "", invalidField("id", "must not be empty; "+advice)
	}
	return *name, nil
}

// takeRequest reads a body that is empty or a JSON object into the struct that into points
// to. The request may have no query parameters.
func (s *Server) takeRequest(w *response, r *http.Request, into any) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := w.checkLength(r, false); err != nil {
		return err
	}
	body, room, err := s.takeBody(w, r, "body", maxAdminBody, 0)
	if err != nil {
		return err
	}
	defer room.release()
	if len(body) == 0 {
		return nil
	}
	if err := checkMembers(body, membersOf(into)); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return invalidField("body", "is not valid JSON: "+err.Error())
	}
	return nil
}

// membersOf returns the JSON names of the fields of the struct that into points to, each
// with a function that reads a value of the field's type.
func membersOf(into any) map[string]func(*json.Decoder) error {
	members := make(map[string]func(*json.Decoder) error)
	t := reflect.TypeOf(into).Elem()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if t.Field(i).Type.Kind() == reflect.Bool {
			members[name] = boolToken
		} else {
			members[name] = func(d *json.Decoder) error {
				_, err := stringToken(d)
				return err
			}
		}
	}
	return members
}

// checkMembers refuses a body unless it is a JSON object of known members, each at most
// once and of its type. It is stricter than encoding/json, which ignores the case of names
// and accepts null and repeated members. A request to change the cluster must not be
// misunderstood.
func checkMembers(body []byte, known map[string]func(*json.Decoder) error) error {
	if !utf8.Valid(body) {
		return invalidField("body", "is not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return invalidField("body", "must be a JSON object")
	}
	given := make(map[string]bool)
	for decoder.More() {
		name, err := stringToken(decoder)
		if err != nil {
			return invalidField("body", "is not valid JSON: "+err.Error())
		}
		read, ok := known[name]
		if !ok {
			return invalidField(fmt.Sprintf("%.64q", name), "is not a field of this request")
		}
		if given[name] {
			return invalidField(name, "is given more than once")
		}
		given[name] = true
		if err := read(decoder); err != nil {
			return invalidField(name, err.Error())
		}
	}
	if _, err := decoder.Token(); err != nil { // the closing brace
		return invalidField("body", "is not valid JSON: "+err.Error())
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return invalidField("body", "continues after the JSON object")
	}
	return nil
}

// boolToken reads the next token of a JSON text, which must be true or false.
func boolToken(decoder *json.Decoder) error {
	switch token, err := decoder.Token(); token {
	case true, false:
		return nil
	default:
		return cmp.Or(err, errors.New("must be true or false"))
	}
}

// stringToken returns the next token of a JSON text, which must be a string.
func stringToken(decoder *json.Decoder) (string, error) {
	token, err := decoder.Token()
	if errors.Is(err, io.EOF) {
		return "", errors.New("the JSON object ends here, unfinished")
	}
	if err != nil {
		return "", err
	}
	s, ok := token.(string)
	if !ok {
		return "", errors.New("must be a string")
	}
	return s, nil
}

// invalidField returns the error for a member of a body, or the body itself.
func invalidField(field, reason string) error {
	return &kv.ValidationError{Field: field, Reason: reason}
}
