package httpapi

import "net/http"

// Handler returns the API without a listener and its limits on connections and headers.
func (s *Server) Handler() http.Handler { return s.http.Handler }
