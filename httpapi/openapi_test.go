package httpapi_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// openAPI is the parts of a description that are checked.
type openAPI struct {
	OpenAPI    string
	Paths      map[string]map[string]json.RawMessage
	Components map[string]map[string]json.RawMessage
}

// describedParameters returns the parameters in the query of an operation.
func (o *openAPI) describedParameters(t *testing.T, template, method string) (names []string) {
	t.Helper()
	var operation struct {
		Parameters []struct {
			Ref  string `json:"$ref"`
			Name string
			In   string
		}
	}
	if err := json.Unmarshal(o.Paths[template][method], &operation); err != nil {
		t.Fatal(err)
	}
	for _, p := range operation.Parameters {
		switch {
		case p.Ref != "":
			names = append(names, path.Base(p.Ref))
		case p.In == "query":
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

func mustOpenAPI(t *testing.T, a *api) openAPI {
	t.Helper()
	w := a.do("GET", "/openapi.json", "")
	expectHeaders(t, w.Header(), "Content-Type", "application/json")
	var o openAPI
	if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != http.StatusOK || o.OpenAPI != "3.1.0" {
		t.Fatalf("got %d and OpenAPI %q: %v", w.Code, o.OpenAPI, err)
	}
	for _, ref := range regexp.MustCompile(`"#/components/(\w+)/(\w+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
		if o.Components[ref[1]][ref[2]] == nil {
			t.Errorf("%s does not exist", ref[0])
		}
	}
	return o
}

// TestOpenAPI_Routes checks that the description has the routes and methods of the server. A
// GET route has HEAD too.
func TestOpenAPI_Routes(t *testing.T) {
	a := mustAPI(t, func(c *httpapi.Config) { c.Metrics = http.NotFoundHandler() })
	o := mustOpenAPI(t, a)
	routes := a.server.Routes()
	for template, methods := range routes {
		var described []string
		for method := range maps.Keys(o.Paths[template]) {
			if method == "get" {
				described = append(described, "HEAD")
			}
			if method != "parameters" {
				described = append(described, strings.ToUpper(method))
			}
		}
		if slices.Sort(described); !slices.Equal(described, methods) {
			t.Errorf("%s: %v are described, the server has %v", template, described, methods)
		}
	}
	for template := range o.Paths {
		if routes[template] == nil {
			t.Errorf("%s is described, and the server does not have it", template)
		}
	}
}

// TestOpenAPI_Parameters checks that the description has the parameters of the server.
func TestOpenAPI_Parameters(t *testing.T) {
	o := mustOpenAPI(t, mustAPI(t, nil))
	for _, test := range []struct {
		template, method string
		want             []string
	}{
		{"/kv/", "get", httpapi.ListNames},
		{"/kv/", "delete", httpapi.RangeNames},
		{"/watch", "get", httpapi.WatchNames},
		{"/kv/{key}", "get", httpapi.GetNames},
		{"/kv/{key}", "put", []string{"lease", "op", "ttl"}},
		{"/kv/{key}", "post", []string{"delta", "lease", "op", "ttl"}},
		{"/kv/{key}", "delete", []string{"op"}},
		{"/txn", "post", nil},
		{"/batch", "post", nil},
		{"/leases", "get", httpapi.LeaseListNames},
		{"/leases", "post", nil},
		{"/leases/{lease}", "get", []string{"keys"}},
	} {
		want := slices.Sorted(slices.Values(test.want))
		if got := o.describedParameters(t, test.template, test.method); !slices.Equal(got, want) {
			t.Errorf("%s %s: %v are described, the server has %v", test.method, test.template, got, want)
		}
	}
}

// TestOpenAPI_Transactions checks that the description has the members of operations and
// compares.
func TestOpenAPI_Transactions(t *testing.T) {
	o := mustOpenAPI(t, mustAPI(t, nil))
	type schema struct {
		Properties map[string]json.RawMessage
	}
	var operations, compare schema
	for name, into := range map[string]*schema{"Operation": &operations, "Compare": &compare} {
		if err := json.Unmarshal(o.Components["schemas"][name], into); err != nil {
			t.Fatal(err)
		}
	}
	members := func(s schema) (names []string) {
		for name := range s.Properties {
			if !strings.HasSuffix(name, "_b64") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	want := httpapi.OperationMembers()
	if got := slices.Sorted(slices.Values(want[""])); !slices.Equal(got, members(compare)) {
		t.Errorf("compares: %v are described, the server has %v", members(compare), got)
	}
	for kind, raw := range operations.Properties {
		var s schema
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(slices.Values(want[kind])); kind != "txn" && !slices.Equal(got, members(s)) {
			t.Errorf("%s: %v are described, the server has %v", kind, members(s), got)
		}
	}
	if got := len(operations.Properties); got != len(want) { // "" is in want, "txn" here
		t.Errorf("%d kinds of operations are described, the server has %d", got, len(want))
	}
}

// TestOpenAPI_Status checks that the description has the limits and the settings of a status.
func TestOpenAPI_Status(t *testing.T) {
	o := mustOpenAPI(t, mustAPI(t, nil))
	type schema struct {
		Ref        string `json:"$ref"`
		Items      *schema
		Properties map[string]schema
	}
	var status schema
	if err := json.Unmarshal(o.Components["schemas"]["Status"], &status); err != nil {
		t.Fatal(err)
	}
	if ref := status.Properties["settings"].Ref; path.Base(ref) != "Settings" {
		t.Errorf("settings: got %q", ref)
	}
	limits := status.Properties["limits"]
	for _, test := range []struct {
		got  schema
		want any
	}{
		{limits, kv.LimitStatus{Differ: make([]kv.MemberLimits, 1)}},
		{*limits.Properties["differ"].Items, kv.MemberLimits{}},
	} {
		var want map[string]json.RawMessage
		if raw, err := json.Marshal(test.want); err != nil || json.Unmarshal(raw, &want) != nil {
			t.Fatal(raw, err)
		}
		if got := slices.Sorted(maps.Keys(test.got.Properties)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%T: %v are described, the server has %v", test.want, got, slices.Sorted(maps.Keys(want)))
		}
	}
}

// TestOpenAPI_Durations checks the pattern of durations.
func TestOpenAPI_Durations(t *testing.T) {
	o := mustOpenAPI(t, mustAPI(t, nil))
	var get struct {
		Parameters []struct {
			Name   string
			Schema struct{ Pattern string }
		}
	}
	if err := json.Unmarshal(o.Paths["/kv/{key}"]["get"], &get); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(get.Parameters, func(p struct {
		Name   string
		Schema struct{ Pattern string }
	}) bool {
		return p.Name == "wait"
	})
	pattern := regexp.MustCompile(get.Parameters[i].Schema.Pattern)
	for _, text := range []string{"30s", "1m30s", "1.5s", ".5s", "1.s", "+1s", "100ms", "7µs", "7μs", "", "30", "-1s", "s", "true", "1s ", "1 s", "1d", "1.2.3s", "."} {
		d, err := time.ParseDuration(text)
		if got, want := pattern.MatchString(text), err == nil && d > 0; got != want {
			t.Errorf("%q: it matches: %v, want %v", text, got, want)
		}
	}
}
