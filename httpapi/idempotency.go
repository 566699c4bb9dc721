package httpapi

import (
	"net/http"

	"github.com/kvorum/kvorum/kv"
)

// Headers of requests that may be sent again. The key is the whole value of its header. The
// answer to a request that was carried out before says so.
const (
	idempotencyHeader = "Idempotency-Key"
	replayedHeader    = "Kvorum-Replayed"
)

// keyed takes the idempotency key out of the headers of a request, for next.
func keyed(next handler) handler {
	return func(w *response, r *http.Request) error {
		values, given := r.Header[idempotencyHeader]
		if !given {
			return next(w, r)
		}
		if len(values) != 1 || len(values[0]) < 1 || len(values[0]) > kv.MaxIdempotencyKeyBytes {
			return invalidField(idempotencyHeader, "must be given once, with 1 to 256 bytes")
		}
		w.idempotencyKey = values[0]
		delete(r.Header, idempotencyHeader)
		return next(w, r)
	}
}

// setReplayed says in an answer's headers whether it is that of an earlier request.
func setReplayed(h http.Header, replayed bool) {
	if replayed {
		h.Set(replayedHeader, "true")
	}
}
