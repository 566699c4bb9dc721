package httpapi

import (
	"fmt"
	"net/http"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// textPlain is the content type of answers for people.
const textPlain = "text/plain; charset=utf-8"

// helpText is the answer to GET /.
const helpText = `Kvorum: a replicated, strongly consistent key-value store.

PUT    /kv/{key}        set a key to the request's body; 201 created, 204 replaced; ?op=getset answers with the value before
GET    /kv/{key}        read it (HEAD: without the value); ?revision= &consistency=linearizable|leader|stale &max_stale= &min_revision=
POST   /kv/{key}        ?op=incr&delta=N, ?op=append, ?op=getset, ?op=getdel
DELETE /kv/{key}        remove it; 204, or 404 where there is none; ?op=getdel answers with its value
POST   /txn             {"if":[compares],"then":[operations],"else":[operations]}, all at one revision
GET    /kv/             list as JSON, or as JSON lines with Accept: application/x-ndjson; ?prefix= &start= &end= &limit=
                        &cursor= &reverse=true &sort=key|create_revision|mod_revision|version &keys_only=true
                        &count_only=true &delimiter= &revision=, and as above; its end, "end":true, says that it is
                        whole, and has the cursor of the next page
DELETE /kv/             remove a range: ?prefix= &start= &end=, or ?all=true
POST   /batch           many requests, one a line: {"put":{"key":"k","value":"v"}}, or as /txn; an answer a line
GET    /watch           stream changes; ?key= or ?prefix= or ?start= &end=, &from_revision= &snapshot=true &prev=true
                        &ops=put,delete &progress=10s; server-sent events with Accept: text/event-stream
POST   /admin/join      add a node: {"id":"n4","peer_addr":"host:port","http_addr":"host:port"}
POST   /admin/leave     remove a node: {"id":"n4"}, "force":true if need be; without a body, this node
POST   /admin/transfer  hand leadership over: {"id":"n2"}; without a body, to one that is ready
POST   /admin/snapshot  take a snapshot and drop the log it covers: {"id":"n2"}; without a body, here
POST   /admin/compact   give up the history before {"revision":N}
GET    /admin/settings  settings of the cluster; PUT replaces them
GET    /status          this node and its cluster, as JSON
GET    /livez           200 while the process runs
GET    /readyz          200 while this node can serve, otherwise 503 with the reason
GET    /metrics         metrics in Prometheus' format
GET    /openapi.json    a description of all this for programs

Conditions on PUT and DELETE: If-Match: "REVISION", If-Match: *, If-None-Match: *
The revision of a key is its ETag. Keys are percent-encoded in paths and may hold any byte.
`

// help answers GET /.
func (s *Server) help(w *response, _ *http.Request) error {
	writeBody(w, http.StatusOK, textPlain, []byte(helpText))
	return nil
}

// livez answers GET /livez. It always answers 200, because any answer shows that the
// process runs.
func (s *Server) livez(w *response, _ *http.Request) error {
	writeBody(w, http.StatusOK, textPlain, []byte("ok\n"))
	return nil
}

// readyz answers GET /readyz.
func (s *Server) readyz(w *response, _ *http.Request) error {
	switch err := s.node.Ready(); {
	case kv.Classify(err) == kv.ErrLoading:
		return fmt.Errorf("%s: %w", errNotReady.text, err) // ErrLoading stays the class; its text has the progress
	case err != nil:
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	writeBody(w, http.StatusOK, textPlain, []byte("ready\n"))
	return nil
}

// status answers GET /status.
func (s *Server) status(w *response, _ *http.Request) error {
	status := s.node.Status()
	if d := status.Descriptors; d != nil {
		open := s.conns.open()
		d.Clients.Open = &open
	}
	if status.Members == nil {
		status.Members = []kv.Member{} // [] rather than null
	}
	writeJSON(w, http.StatusOK, "application/json", api.NewStatus(status))
	return nil
}

// metricsPage answers GET /metrics.
func (s *Server) metricsPage(w *response, r *http.Request) error {
	s.cfg.Metrics.ServeHTTP(w, r)
	return nil
}
