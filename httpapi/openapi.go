package httpapi

import (
	_ "embed" // for description
	"net/http"
)

// description describes the API in the format of OpenAPI 3.1.
//
//go:embed openapi.json
var description []byte

// openAPI answers GET /openapi.json.
func (s *Server) openAPI(w *response, _ *http.Request) error {
	writeBody(w, http.StatusOK, jsonType, description)
	return nil
}
