package load

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/kvorum/kvorum/test/history"
)

// session is a client that carries the newest revision that it has seen from host to
// host. It has a key of its own, which it never deletes.
type session struct {
	*client
	at    int    // the index of the host that it asks now
	token uint64 // the highest revision that an answer has named
}

func newSession(c *client) *session {
	c.name = strings.Replace(c.name, "client", "session", 1)
	return &session{client: c, at: c.host}
}

// act does one operation, with the token. If the host fails, and sometimes without a
// reason, it changes to another host.
func (s *session) act() bool {
	s.turn()
	var answered bool
	switch n := s.rng.IntN(100); {
	case n < 35:
		answered = s.put()
	case n < 70:
		answered = s.read(s.own())
	case n < 90:
		// A key that others write, too.
		answered = s.read(s.others())
	default:
		answered = s.list()
	}
	if !answered || s.rng.IntN(5) == 0 {
		s.at = (s.at + 1 + s.rng.IntN(max(1, len(s.wires)-1))) % len(s.wires)
	}
	return answered
}

// own is the session's key.
func (s *session) own() string {
	return s.load.hist.Prefix() + "s/" + strconv.Itoa(s.age) + "-" + strconv.Itoa(s.id)
}

// others is a key of the first group of clients.
func (s *session) others() string {
	c := client{load: s.load, age: s.age, rng: s.rng}
	return c.key()
}

// put writes the session's key.
func (s *session) put() bool {
	in := history.Input{Kind: history.Put, Key: s.own(), Value: s.value()}
	a := s.change("session put", s.at, in, request{method: http.MethodPut, key: in.Key, value: in.Value})
	if a.fate == history.Acknowledged {
		s.carry(a)
	}
	return a.status != 0
}

// read reads a key at a level drawn, not older than the token.
func (s *session) read(key string) bool {
	level := []string{"stale", "stale", "stale", "leader", "linearizable"}[s.rng.IntN(5)]
	query := url.Values{"consistency": {level}, "min_revision": {strconv.FormatUint(s.token, 10)}}
	last, known := s.last[key]
	call := s.load.hist.Call()
	a := s.ask("session get", s.at, request{method: http.MethodGet, key: key, query: query})
	if a.fate != history.Acknowledged {
		return false
	}
	value := ""
	if a.status == http.StatusOK {
		value = a.body
	}
	gone := value == "" && key == s.own()
	if known && (gone || value != "" && a.modified < last.modified) {
		s.load.hist.Broke(promiseSession, "%s read %s of revision %d from %s, and before that of %d", s.name, key, a.modified, s.wires[s.at].base, last.modified)
	}
	s.carry(a)
	if value != "" {
		s.last[key] = seen{value, a.modified}
	}
	if level == "linearizable" {
		s.load.hist.Add(s.id, history.Input{Kind: history.Get, Key: key}, history.Output{Value: value}, call)
	}
	return true
}

// list reads the keys of all sessions from the host's state, not older than the token.
func (s *session) list() bool {
	own := s.own()
	prefix, _, _ := strings.Cut(own, "-")
	query := url.Values{
		"prefix": {prefix + "-"}, "consistency": {"stale"}, "min_revision": {strconv.FormatUint(s.token, 10)},
	}
	a := s.ask("session list", s.at, request{method: http.MethodGet, query: query})
	if a.fate != history.Acknowledged {
		return false
	}
	found := map[string]uint64{}
	if err := s.readList(a, func(item Item) { found[item.Key] = item.ModRevision }); err != nil {
		return false
	}
	if last := s.last[own]; found[own] < last.modified {
		s.load.hist.Broke(promiseSession, "%s listed %s of revision %d from %s, and before that saw %d", s.name, own, found[own], s.wires[s.at].base, last.modified)
	}
	s.carry(a)
	return true
}

// carry makes the revision of an answer the token, and checks that it is not lower.
func (s *session) carry(a answer) {
	s.load.hist.Looked(promiseSession)
	if a.revision < s.token {
		s.load.hist.Broke(promiseSession, "%s got an answer of revision %d from %s, and before that one of %d", s.name, a.revision, s.wires[s.at].base, s.token)
	}
	s.token = max(s.token, a.revision)
}
