package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/kvorum/kvorum/internal/api"
)

// versioned answers reads of a key that was made at revision 3 and changed at 5 and 8, in a
// store that is compacted at 4.
func versioned(w http.ResponseWriter, r *http.Request) bool {
	revision, _ := strconv.Atoi(r.URL.Query().Get("revision"))
	mod, version := 8, 3
	switch {
	case revision != 0 && revision < 4:
		answerProblem(w, http.StatusGone, api.Problem{Title: "Revision compacted", Code: "compacted", Outcome: "not_done", CompactRevision: 4})
		return true
	case revision != 0 && revision < 5:
		mod, version = 3, 1
	case revision != 0 && revision < 8:
		mod, version = 5, 2
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf(`"%d"`, mod))
	h.Set("Kvorum-Version", strconv.Itoa(version))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Kvorum-Create-Revision", "3")
	fmt.Fprintf(w, "v%d\t", version)
	return true
}

func TestHistory(t *testing.T) {
	f := newFake(t, versioned)
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "KEY  VERSION  CREATED  MODIFIED  EXPIRES  VALUE\nk    3        3        8         -        \"v3\\t\"\nk    2        3        5         -        \"v2\\t\"\nk    1        3        3         -        \"v1\\t\"\n"},
		{[]string{"--limit", "2", "-o", "json"}, `{"key":"k","value":"v3\t","create_revision":3,"mod_revision":8,"version":3}` + "\n" +
			`{"key":"k","value":"v2\t","create_revision":3,"mod_revision":5,"version":2}` + "\n"},
		{[]string{"--revision", "7", "-o", "raw"}, "v2\t\nv1\t\n"},
	} {
		if got := mustRun(t, "", append([]string{"history", "k", endpoints(f)}, test.args...)...); got != test.want {
			t.Errorf("%v: got %q, want %q", test.args, got, test.want)
		}
	}
	wantFailure(t, runKvorum(t, "", "history", "k", "--revision", "2", endpoints(f)), exitError, "Revision compacted")
	wantFailure(t, runKvorum(t, "", "history", "k", "-o", "xml", endpoints(f)), exitUsage, `--output "xml" is none of: table, json, raw`)
}

func TestGet_Formats(t *testing.T) {
	f := newFake(t, versioned)
	if got := mustRun(t, "", "get", "k", "--revision", "6", endpoints(f)); got != "v2\t" {
		t.Errorf("got %q", got)
	}
	if got, want := mustRun(t, "", "get", "k", "-o", "json", endpoints(f)), `{"key":"k","value":"v3\t","create_revision":3,"mod_revision":8,"version":3}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIncrAndTxn(t *testing.T) {
	var sent string
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		sent = r.Method + " " + r.URL.RequestURI() + " " + string(body)
		if r.URL.Path == "/txn" {
			fmt.Fprint(w, `{"succeeded":false,"revision":7,"results":[]}`)
		} else {
			fmt.Fprint(w, "42\n")
		}
		return true
	})
	if got := mustRun(t, "", "incr", "n", endpoints(f)); got != "42\n" || sent != "POST /kv/n?delta=1&op=incr " {
		t.Errorf("got %q for %s", got, sent)
	}
	if mustRun(t, "", "incr", endpoints(f), "--", "n", "-5"); sent != "POST /kv/n?delta=-5&op=incr " {
		t.Errorf("sent %s", sent)
	}
	wantFailure(t, runKvorum(t, "", "incr", "n", "1.5", endpoints(f)), exitUsage, `DELTA "1.5" is not an integer`)
	if got := mustRun(t, `{"then":[]}`, "txn", "-", endpoints(f)); got != `{"succeeded":false,"revision":7,"results":[]}`+"\n" || sent != `POST /txn {"then":[]}` {
		t.Errorf("got %q for %s", got, sent)
	}
}
