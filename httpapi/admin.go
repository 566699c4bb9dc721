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
	"slices"
	"unicode/utf8"

	"github.com/kvorum/kvorum/cluster"
)

// maxAdminBody bounds the bodies of /admin/ requests.
const maxAdminBody = 64 << 10

// join answers POST /admin/join with the member that was added.
func (s *Server) join(w *response, r *http.Request) error {
	fields, err := s.takeFields(w, r, []string{"id", "peer_addr", "http_addr"})
	if err != nil {
		return err
	}
	req := cluster.JoinRequest{ID: fields["id"], PeerAddr: fields["peer_addr"], HTTPAddr: fields["http_addr"]}
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

// leave answers POST /admin/leave: it removes the member that "id" names, or
// this node where no id is given. "force" removes it even if too few live voters
// are left then.
func (s *Server) leave(w *response, r *http.Request) error {
	return s.admin(w, r, "leave it out for this node", func(ctx context.Context, id string, force bool) error {
		return s.node.Leave(ctx, cluster.LeaveRequest{ID: id, Force: force})
	}, "force")
}

// transfer answers POST /admin/transfer: it hands leadership to the voter that
// "id" names, or to one that is ready where no id is given.
func (s *Server) transfer(w *response, r *http.Request) error {
	return s.admin(w, r, "leave it out for any voter", func(ctx context.Context, id string, _ bool) error {
		return s.node.Transfer(ctx, id)
	})
}

// snapshot answers POST /admin/snapshot with what was done: the member that "id"
// names, or this node where no id is given, takes a snapshot and drops the log that it
// covers.
func (s *Server) snapshot(w *response, r *http.Request) error {
	name, _, err := s.takeName(w, r, "leave it out for this node")
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

// admin does something to the member that the body may name, with a flag that it
// may set.
func (s *Server) admin(w *response, r *http.Request, advice string, act func(ctx context.Context, id string, flag bool) error, flags ...string) error {
	name, fields, err := s.takeName(w, r, advice, flags...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	flag := len(flags) > 0 && fields[flags[0]] == "true"
	if err := act(ctx, name, flag); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// takeName reads a body that may name a member. An empty id is refused: it is more
// likely a script's unset variable than meant.
func (s *Server) takeName(w *response, r *http.Request, advice string, flags ...string) (name string, fields map[string]string, err error) {
	fields, err = s.takeFields(w, r, []string{"id"}, flags...)
	if err != nil {
		return "", nil, err
	}
	name, given := fields["id"]
	if given && name == "" {
		return "", nil, invalidField("id", "must not be empty; "+advice)
	}
	return name, fields, nil
}

// takeFields reads a body that is empty or a JSON object of strings, and of flags
// that are true or false, with no members but the known ones, and returns the
// members given. There are no query parameters beside it.
func (s *Server) takeFields(w *response, r *http.Request, known []string, flags ...string) (map[string]string, error) {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if err := w.checkLength(r, false); err != nil {
		return nil, err
	}
	body, release, err := s.takeBody(w, r, "body", maxAdminBody, 0)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(body) == 0 {
		return nil, nil
	}
	return decodeFields(body, known, flags)
}

// decodeFields decodes a JSON object of strings and flags. It is stricter than
// encoding/json, which takes members in any case, given twice, or null: what a
// request to change the cluster says must be what its sender meant.
func decodeFields(body []byte, known, flags []string) (map[string]string, error) {
	if !utf8.Valid(body) {
		return nil, invalidField("body", "is not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, invalidField("body", "must be a JSON object")
	}
	fields := make(map[string]string)
	for decoder.More() {
		name, err := stringToken(decoder)
		if err != nil {
			return nil, invalidField("body", "is not valid JSON: "+err.Error())
		}
		isFlag := slices.Contains(flags, name)
		if !isFlag && !slices.Contains(known, name) {
			return nil, invalidField(fmt.Sprintf("%.64q", name), "is not a field of this request")
		}
		if _, ok := fields[name]; ok {
			return nil, invalidField(name, "is given more than once")
		}
		value := stringToken
		if isFlag {
			value = boolToken
		}
		if fields[name], err = value(decoder); err != nil {
			return nil, invalidField(name, err.Error())
		}
	}
	if _, err := decoder.Token(); err != nil { // the closing brace
		return nil, invalidField("body", "is not valid JSON: "+err.Error())
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, invalidField("body", "goes on after the JSON object")
	}
	return fields, nil
}

// boolToken returns the next token of a JSON text, which must be true or false,
// as a string.
func boolToken(decoder *json.Decoder) (string, error) {
	switch token, err := decoder.Token(); token {
	case true:
		return "true", nil
	case false:
		return "false", nil
	default:
		return "", cmp.Or(err, errors.New("must be true or false"))
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
	return &cluster.ValidationError{Field: field, Reason: reason}
}
