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

// handler answers a request, or returns an error, which becomes the answer. It may return
// an error only before its answer has begun.
type handler func(w *response, r *http.Request) error

// methods holds the handlers of one path by method.
type methods map[string]handler

// routes returns the router. It must match paths as they are, neither cleaned nor decoded,
// because a key may have any byte.
func (s *Server) routes() http.Handler {
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	for _, route := range s.table() {
		handler := s.serve(route.template, route.methods)
		if route.template == keyRoute {
			router.PathPrefix("/kv/").Handler(handler)
		} else {
			router.Path(route.template).Handler(handler)
		}
	}
	router.NotFoundHandler = s.serve("none", nil)
	// The router itself would copy each request twice, to put variables and a route into
	// its context, which are not used here.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var match mux.RouteMatch
		router.Match(r, &match) // always: there is a NotFoundHandler
		match.Handler.ServeHTTP(w, r)
	})
}

// keyRoute is the template of the route of a key, which may have any bytes.
const keyRoute = "/kv/{key}"

// route is a path with its handlers.
type route struct {
	template string
	methods  methods
}

// table returns all routes, the first of which that matches counts.
func (s *Server) table() []route {
	routes := []route{
		{"/openapi.json", methods{"GET": s.openAPI, "HEAD": s.openAPI}},
		{"/", methods{"GET": s.help, "HEAD": s.help}},
		{"/livez", methods{"GET": s.livez, "HEAD": s.livez}},
		{"/readyz", methods{"GET": s.readyz, "HEAD": s.readyz}},
		{"/status", methods{"GET": s.status, "HEAD": s.status}},
		{"/admin/join", methods{"POST": s.guard(s.join)}},
		{"/admin/leave", methods{"POST": s.guard(s.leave)}},
		{"/admin/snapshot", methods{"POST": s.guard(s.snapshot)}},
		{"/admin/transfer", methods{"POST": s.guard(s.transfer)}},
		{"/admin/compact", methods{"POST": s.guard(s.compact)}},
		{"/admin/settings", methods{"GET": s.guard(s.settings), "HEAD": s.guard(s.settings), "PUT": s.guard(s.setSettings)}},
		{"/txn", methods{"POST": keyed(checked(s.txn))}},
		{batchRoute, methods{"POST": checked(s.batch)}},
		{leasesRoute, methods{"GET": s.guard(s.leases), "HEAD": s.guard(s.leases), "POST": keyed(s.guard(s.grant))}},
		{keepAlivesRoute, methods{"POST": checked(s.keepAlives)}},
		{leaseRoute, methods{"GET": s.guard(s.lease), "HEAD": s.guard(s.lease), "DELETE": keyed(s.guard(s.revoke))}},
		{keepAliveRoute, methods{"POST": s.guard(s.keepAlive)}},
		{"/watch", methods{"GET": s.watch, "HEAD": s.watch}},
		{"/kv/", methods{
			"GET": s.guard(s.list), "HEAD": s.guard(s.list),
			"PUT": checked(s.put), "DELETE": keyed(s.guard(s.deleteRange)),
		}},
		{keyRoute, methods{
			"GET": checked(s.get), "HEAD": checked(s.get),
			"PUT": keyed(checked(s.put)), "POST": keyed(checked(s.post)), "DELETE": keyed(s.guard(s.delete)),
		}},
	}
	if s.cfg.Metrics != nil {
		routes = append(routes, route{"/metrics", methods{"GET": s.metricsPage, "HEAD": s.metricsPage}})
	}
	return routes
}

// serve returns the http.Handler of the route that template names. Without methods it is
// the handler of unknown paths.
func (s *Server) serve(template string, m methods) http.Handler {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	allow := strings.Join(names, ", ")
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := rw.(*response) // made by middleware, through which every request passes
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

// guard limits the requests in flight, and refuses requests that no /kv/ or /admin/ route
// can serve. Health, status and metrics have no guard, so that they answer in an overload.
func (s *Server) guard(next handler) handler {
	return checked(func(w *response, r *http.Request) error {
		if !s.budget.takeRequest() {
			return kv.ErrOverloaded
		}
		defer s.budget.putRequest()
		return next(w, r)
	})
}

// checked refuses requests that no /kv/ or /admin/ route can serve.
func checked(next handler) handler {
	return func(w *response, r *http.Request) error {
		if _, ok := r.Header[idempotencyHeader]; ok { // it would be ignored
			return invalidField(idempotencyHeader, "is for changes of keys and leases; a line of a batch has \"idempotency_key\"")
		}
		return next(w, r)
	}
}

// middleware returns the outermost handler, which does the work for every answer, including
// those to unknown paths.
func (s *Server) middleware(next http.Handler) http.Handler {
	// All answers share these values. An answer with another value replaces the slice.
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

// finish counts a request and handles its panic. If no answer has begun, it answers.
// Otherwise it breaks the connection, so that no client takes the part for a whole answer.
func (s *Server) finish(w *response, r *http.Request, start time.Time, panicked any) {
	s.budget.putAnswer(w.answerBytes)
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
