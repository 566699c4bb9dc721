package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/internal/strictjson"
	"github.com/kvorum/kvorum/kv"
)

// compact answers POST /admin/compact: the history before "revision" is given up.
func (s *Server) compact(w *response, r *http.Request) error {
	var revision uint64
	err := s.takeObject(w, r, func(b *strictjson.Reader, name string) bool {
		if name == "revision" {
			revision = uint64(b.Int(1, 1<<63-1))
		}
		return name == "revision"
	})
	switch {
	case err != nil:
		return err
	case revision == 0:
		return invalidField("revision", "is required")
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	done, err := s.node.Compact(ctx, revision)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, jsonType, api.CompactResponse{Revision: done.Revision, CompactRevision: done.CompactRevision})
	return nil
}

// settings answers GET /admin/settings. A setting that is not set is left out.
func (s *Server) settings(w *response, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.AdminTimeout)
	defer cancel()
	settings, err := s.node.Settings(ctx)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, jsonType, api.NewSettings(settings))
	return nil
}

// setSettings answers PUT /admin/settings, which replaces all settings: one that the body
// does not have gets its default.
func (s *Server) setSettings(w *response, r *http.Request) error {
	var settings kv.Settings
	if err := s.takeObject(w, r, func(b *strictjson.Reader, name string) bool { return readSetting(b, name, &settings) }); err != nil {
		return err
	}
	if err := settings.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.AdminTimeout)
	defer cancel()
	if err := s.node.SetSettings(ctx, settings); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, jsonType, api.NewSettings(settings))
	return nil
}

// readSetting reads the setting with a name, and reports whether there is one.
func readSetting(b *strictjson.Reader, name string, s *kv.Settings) bool {
	const most = 1 << 50
	switch name {
	case "history":
		b.Object(func(name string) bool {
			switch name {
			case "max_age":
				s.History.MaxAge = readDuration(b)
			case "max_revisions":
				s.History.MaxRevisions = uint64(b.Int(1, most))
			case "max_bytes":
				s.History.MaxBytes = b.Int(1, most)
			default:
				return false
			}
			return true
		})
	case "max_key_bytes":
		s.MaxKeyBytes = int(b.Int(1, most))
	case "max_value_bytes":
		s.MaxValueBytes = int(b.Int(1, most))
	case "max_request_ops":
		s.MaxRequestOps = int(b.Int(1, most))
	case "quota":
		b.Object(func(name string) bool {
			switch name {
			case "max_keys":
				s.Quota.MaxKeys = b.Int(1, most)
			case "max_bytes":
				s.Quota.MaxBytes = b.Int(1, most)
			case "eviction":
				s.Quota.Eviction = readEviction(b)
			case "protected_prefixes":
				b.Array(func(int) { s.Quota.ProtectedPrefixes = append(s.Quota.ProtectedPrefixes, b.String()) })
			default:
				return false
			}
			return true
		})
	case "idempotency":
		b.Object(func(name string) bool {
			switch name {
			case "window":
				s.Idempotency.Window = readDuration(b)
			case "max_keys":
				s.Idempotency.MaxKeys = b.Int(1, most)
			case "max_bytes":
				s.Idempotency.MaxBytes = b.Int(1, most)
			default:
				return false
			}
			return true
		})
	default:
		return false
	}
	return true
}

// readEviction reads the name of a policy of eviction.
func readEviction(b *strictjson.Reader) kv.Eviction {
	e, known := kv.EvictionOf(b.String())
	if !known {
		b.Fail("must be none, lru, lfu, random or ttl")
	}
	return e
}

// readDuration reads a duration above 0 as text.
func readDuration(b *strictjson.Reader) time.Duration {
	d, err := time.ParseDuration(b.String())
	if err != nil || d <= 0 {
		b.Fail(`must be a duration above 0, such as "10m"`)
	}
	return d
}

// takeObject reads a body that is a JSON object, and calls member for each of its members.
func (s *Server) takeObject(w *response, r *http.Request, member func(b *strictjson.Reader, name string) bool) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := refuseConditions(r.Header, "is not for this request"); err != nil {
		return err
	}
	if err := w.checkLength(r, true); err != nil {
		return err
	}
	body, room, err := s.takeBody(w, r, "body", maxAdminBody, 0)
	if err != nil {
		return err
	}
	defer room.release()
	b := strictjson.New(body)
	b.Object(func(name string) bool { return member(b, name) })
	b.End()
	return bodyError(b.Err())
}
