package httpapi

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/internal/strictjson"
	"github.com/kvorum/kvorum/kv"
)

// member is a member of a JSON object in the body of a transaction. Its type says which of
// the values it has.
type member struct {
	name   string // without "_b64"
	text   []byte
	number int64 // also a duration, in nanoseconds, and the id of a lease
	flag   bool
}

// memberType is the type of a member's value.
type memberType byte

const (
	isText   memberType = 1 + iota // any bytes; as base64 under the name with "_b64"
	isWord                         // text without that form
	isFlag                         // true or false
	isNumber                       // an integer within limits
	isTTL                          // a time to live, as text
	isLease                        // the id of a lease, as text
)

// memberInfo describes a member.
type memberInfo struct {
	memberType
	least, most int64 // of a number
}

// memberInfos describes every member of operations and compares.
var memberInfos = map[string]memberInfo{
	"key": {isText, 0, 0}, "prefix": {isText, 0, 0}, "start": {isText, 0, 0}, "end": {isText, 0, 0}, "value": {isText, 0, 0},
	"content_type": {isWord, 0, 0}, "ttl": {isTTL, 0, 0}, "lease": {isLease, 0, 0}, "is": {isWord, 0, 0},
	"prev": {isFlag, 0, 0}, "reverse": {isFlag, 0, 0}, "keys_only": {isFlag, 0, 0}, "exists": {isFlag, 0, 0},

	"delta":           {isNumber, math.MinInt64, math.MaxInt64},
	"flags":           {isNumber, 0, math.MaxUint32},
	"limit":           {isNumber, 1, math.MaxInt32},
	"revision":        {isNumber, 1, math.MaxInt64},
	"version":         {isNumber, 0, math.MaxInt64},
	"mod_revision":    {isNumber, 0, math.MaxInt64},
	"create_revision": {isNumber, 0, math.MaxInt64},

	"min_mod_revision":    {isNumber, 1, math.MaxInt64},
	"max_mod_revision":    {isNumber, 1, math.MaxInt64},
	"min_create_revision": {isNumber, 1, math.MaxInt64},
	"max_create_revision": {isNumber, 1, math.MaxInt64},
}

// object is the members of a JSON object, in the order in which they came.
type object []member

// readObject reads an object that may have the members in known.
func readObject(r *strictjson.Reader, known []string) object {
	o := make(object, 0, 4)
	r.Object(func(name string) bool {
		base, encoded := strings.CutSuffix(name, "_b64")
		info := memberInfos[base]
		if !slices.Contains(known, base) || (encoded && info.memberType != isText) {
			return false
		}
		if o.has(base) {
			r.Fail("is given in two forms")
			return true
		}
		m := member{name: base}
		switch {
		case encoded:
			m.text = r.Base64()
		case info.memberType == isFlag:
			m.flag = r.Bool()
		case info.memberType == isNumber:
			m.number = r.Int(info.least, info.most)
		case info.memberType == isTTL:
			m.number = int64(readTTL(r, api.ParseTTL))
		case info.memberType == isLease:
			m.number = int64(readLease(r, api.ParseLeaseOrNone))
		default:
			m.text = []byte(r.String())
		}
		o = append(o, m)
		return true
	})
	return o
}

// readTTL reads a time to live with a function that parses it.
func readTTL(r *strictjson.Reader, parse func(string) (time.Duration, error)) time.Duration {
	text := r.Text(`a duration with its unit as a string, such as "30s", "1500ms" or "1h30m"`)
	if r.Err() != nil {
		return 0
	}
	ttl, err := parse(text)
	if err != nil {
		r.Fail("%s", err.Error())
	}
	return ttl
}

// readLease reads the id of a lease with a function that parses it.
func readLease(r *strictjson.Reader, parse func(string) (kv.LeaseID, error)) kv.LeaseID {
	text := r.Text(`the id of a lease as a string, such as "00000000000004d2"`)
	if r.Err() != nil {
		return 0
	}
	id, err := parse(text)
	if err != nil {
		r.Fail("%s", err.Error())
	}
	return id
}

// find returns a member, the zero member if it was not given.
func (o object) find(name string) member {
	for _, m := range o {
		if m.name == name {
			return m
		}
	}
	return member{}
}

// has reports whether a member was given.
func (o object) has(name string) bool { return o.find(name).name != "" }

// require makes r fail unless the members were given.
func (o object) require(r *strictjson.Reader, names ...string) {
	for _, name := range names {
		if !o.has(name) {
			r.FailAt(name, "is required")
		}
	}
}

// spanMembers are the members that name a span, in one of three forms.
var spanMembers = []string{"key", "prefix", "start", "end"}

// span returns the span that the object names: that of one key, of a prefix, or of the keys
// from start to end, either of which may be missing.
func (o object) span(r *strictjson.Reader) kv.Span {
	key, prefix, bounds := o.has("key"), o.has("prefix"), o.has("start") || o.has("end")
	switch {
	case !key && !prefix && !bounds:
		r.Fail("names no keys: it needs key, prefix, or start and end")
	case key && prefix, key && bounds, prefix && bounds:
		r.Fail("names keys in two ways: it takes key, prefix, or start and end")
	case key:
		return kv.One(string(o.find("key").text))
	case prefix:
		return kv.Prefix(string(o.find("prefix").text))
	case o.has("end") && len(o.find("end").text) == 0:
		r.FailAt("end", "is empty; leave it out for no end")
	}
	return kv.Span{Start: string(o.find("start").text), End: string(o.find("end").text)}
}
