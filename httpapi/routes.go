package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/kvorum/kvorum/kv"
)

// handler answers a request, or returns the error to answer it with. It must
// return an error only before its answer has begun.
type handler func(w *response, r *http.Request) error

// methods holds the handlers of one path by method.
type methods map[string]handler

// routes returns the router. It must neither clean paths nor decode them before
// it matches: any byte may be part of a key.
func (s *Server) routes() http.Handler {
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	path := func(template string, m methods) {
		router.Path(template).Handler(s.serve(template, m))
	}
	path("/", methods{"GET": s.help, "HEAD": s.help})
	path("/livez", methods{"GET": s.livez, "HEAD": s.livez})
	path("/readyz", methods{"GET": s.readyz, "HEAD": s.readyz})
	path("/status", methods{"GET": s.status, "HEAD": s.status})
	if s.cfg.Metrics != nil {
		path("/metrics", methods{"GET": s.metricsPage, "HEAD": s.metricsPage})
	}
	path("/admin/join", methods{"POST": s.guard(s.join)})
	path("/admin/leave", methods{"POST": s.guard(s.leave)})
	path("/admin/snapshot", methods{"POST": s.guard(s.snapshot)})
	path("/admin/transfer", methods{"POST": s.guard(s.transfer)})
	path("/kv/", methods{
		"GET": s.guard(s.list), "HEAD": s.guard(s.list),
		"PUT": checked(s.put), "DELETE": s.guard(s.delete),
	})
	router.PathPrefix("/kv/").Handler(s.serve("/kv/{key}", methods{
		"GET": s.guard(s.get), "HEAD": s.guard(s.get),
		"PUT": checked(s.put), "DELETE": s.guard(s.delete),
	}))
	router.NotFoundHandler = s.serve("none", nil)
	// Not the router itself, which would copy each request twice, for its context
	// to hold variables and a route that nothing here asks for.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var match mux.RouteMatch
		router.Match(r, &match) // always: there is a NotFoundHandler
		match.Handler.ServeHTTP(w, r)
	})
}

// serve returns the http.Handler of the route that template names. Without
// methods it stands for no route at all.
func (s *Server) serve(template string, m methods) http.Handler {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	allow := strings.Join(names, ", ")
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := rw.(*response) // made by middleware, which is the only way here
		w.route = template
		if err := s.dispatch(w, r, m, allow); err != nil {
			s.writeError(w, r, err)
		}
	})
}

// dispatch calls the handler for r's method.
func (s *Server) dispatch(w *response, r *http.Request, m methods, allow string) error {
	if m == nil {
		return errNoRoute
	}
	handle, ok := m[r.Method]
	if !ok {
		w.Header().Set("Allow", allow)
		return fmt.Errorf("%w; it has %s", errMethod, allow)
	}
	if takesBody := r.Method == http.MethodPut || r.Method == http.MethodPost; !takesBody {
		if err := w.checkNoBody(r); err != nil {
			return err
		}
	}
	return handle(w, r)
}

// guard bounds the requests in flight, and refuses what no /kv/ or /admin/
// route can do. Health, status and metrics go without, to be seen in an overload.
func (s *Server) guard(next handler) handler {
	return checked(func(w *response, r *http.Request) error {
		if !s.budget.takeRequest() {
			return kv.ErrOverloaded
		}
		defer s.budget.putRequest()
		return next(w, r)
	})
}

// checked refuses what no /kv/ or /admin/ route can do.
func checked(next handler) handler {
	return func(w *response, r *http.Request) error {
		if _, ok := r.Header["Idempotency-Key"]; ok {
			return errIdempotencyKey
		}
		return next(w, r)
	}
}

// middleware returns the outermost handler: it does what every answer needs,
// those to unknown paths included.
func (s *Server) middleware(next http.Handler) http.Handler {
	// Their values are shared by all answers: one that differs replaces them.
	always := http.Header{
		"Kvorum-Node":             {s.cfg.NodeID},
		"Cache-Control":           {"no-store"},
		"X-Content-Type-Options":  {"nosniff"},
		"Content-Security-Policy": {"default-src 'none'; sandbox"},
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now()
		w := newResponse(rw, r, s.conns, s.cfg.StallTimeout)
		defer func() { s.finish(w, r, start, recover()) }()
		if !isMutation(r) {
			s.answers.add(w)
			defer s.answers.remove(w)
		}

		maps.Copy(w.Header(), always)
		if err := s.origins.Check(r); err != nil {
			s.writeError(w, r, fmt.Errorf("%w: %w", errCrossOrigin, err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// finish counts a request, and turns its panic into an answer where none has
// begun, otherwise into a broken connection, which no client takes for a whole
// answer.
func (s *Server) finish(w *response, r *http.Request, start time.Time, panicked any) {
	cause, _ := panicked.(error)
	if panicked != nil && !errors.Is(cause, http.ErrAbortHandler) {
		s.logger.Error("request panicked", "method", r.Method, "route", w.route,
			"panic", panicked, "stack", string(debug.Stack()))
		if w.status == 0 {
			writeProblem(w, classify(errPanicked, isMutation(r)))
			panicked = nil
		}
	}
	s.metrics.observe(w, r, time.Since(start), panicked != nil)
	if panicked != nil {
		panic(http.ErrAbortHandler)
	}
	s.lingering.linger(w, r)
}
