package httpapi

import (
	"bytes"
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
	fields, err := s.takeFields(w, r, "id", "peer_addr", "http_addr")
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
// this node where no id is given.
func (s *Server) leave(w *response, r *http.Request) error {
	return s.admin(w, r, "leave it out for this node", s.node.Leave)
}

// transfer answers POST /admin/transfer: it hands leadership to the voter that
// "id" names, or to whoever is ready where no id is given.
func (s *Server) transfer(w *response, r *http.Request) error {
	return s.admin(w, r, "leave it out for any voter", s.node.Transfer)
}

// admin does something to the member that the body may name. An empty id is
// refused: it is more likely a script's unset variable than meant.
func (s *Server) admin(w *response, r *http.Request, advice string, act func(context.Context, string) error) error {
	fields, err := s.takeFields(w, r, "id")
	if err != nil {
		return err
	}
	name, given := fields["id"]
	if given && name == "" {
		return invalidField("id", "must not be empty; "+advice)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	if err := act(ctx, name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// takeFields reads a body that is empty or a JSON object of strings, with no
// members but the known ones, and returns the members given. There are no query
// parameters beside it.
func (s *Server) takeFields(w *response, r *http.Request, known ...string) (map[string]string, error) {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	body, release, err := s.takeBody(w, r, "body", maxAdminBody)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(body) == 0 {
		return nil, nil
	}
	return decodeFields(body, known)
}

// decodeFields decodes a JSON object of strings. It is stricter than
// encoding/json, which takes members in any case, given twice, or null: what a
// request to change the cluster says must be what its sender meant.
func decodeFields(body []byte, known []string) (map[string]string, error) {
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
		if !slices.Contains(known, name) {
			return nil, invalidField(fmt.Sprintf("%.64q", name), "is not a field of this request")
		}
		if _, ok := fields[name]; ok {
			return nil, invalidField(name, "is given more than once")
		}
		if fields[name], err = stringToken(decoder); err != nil {
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
