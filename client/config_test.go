package client_test

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kvorum/kvorum/client"
)

// TestNew_Refuses shows that a configuration which can't work is refused at once.
func TestNew_Refuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		cfg  client.Config
		want string
	}{
		{client.Config{}, "Config.Endpoints names no endpoint"},
		{client.Config{Endpoints: []string{""}}, `endpoint "" is not host:port`},
		{client.Config{Endpoints: []string{"a:1", "ftp://x"}}, `endpoint "ftp://x" is not host:port`},
		{client.Config{Endpoints: []string{"x:1/kv"}}, `endpoint "x:1/kv"`},
		{client.Config{Endpoints: []string{"http://user@x:1"}}, `endpoint "http://user@x:1"`},
		{client.Config{Endpoints: []string{"http://x:1?a=b"}}, `endpoint "http://x:1?a=b"`},
		{client.Config{Endpoints: []string{"a:1"}, Timeout: -1}, "Config.Timeout must not be negative"},
		{client.Config{Endpoints: []string{"a:1"}, CAFile: "/nonexistent"}, "Config.CAFile: open /nonexistent: no such file"},
		{client.Config{Endpoints: []string{"a:1"}, CAFile: empty}, "empty.pem holds no certificate"},
	} {
		_, err := client.New(tc.cfg)
		e := wantError(t, err, client.NotDone, tc.want)
		if !errors.Is(err, client.ErrUsage) || e.Retryable || e.Endpoint != "" {
			t.Errorf("%v: got %+v, want a final ErrUsage of no endpoint", err, e)
		}
	}
	_, err := client.New(client.Config{Endpoints: []string{"a:1"}, CAFile: "/nonexistent"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist in it", err)
	}
}

// TestNew_Endpoints shows the ways to write an endpoint.
func TestNew_Endpoints(t *testing.T) {
	s := serve(t, ok)
	for _, e := range []string{s.addr(), " " + s.addr() + " ", s.URL, s.URL + "/"} {
		if _, err := mustNew(t, client.Config{Endpoints: []string{e}}).Get(t.Context(), "k", client.ReadOptions{}); err != nil {
			t.Errorf("%q: %v", e, err)
		}
	}
}

// TestClient_TLS shows that a node's certificate is checked against CAFile, and the errors
// for one that fails and for a wrong scheme.
func TestClient_TLS(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Kvorum-Node", "n1")
		_, _ = io.WriteString(w, "v")
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := mustNew(t, client.Config{Endpoints: []string{secure.URL}, CAFile: ca}).Get(t.Context(), "k", client.ReadOptions{})
	if err != nil || string(got.Value) != "v" {
		t.Errorf("got %q, %v", got.Value, err)
	}

	host := secure.Listener.Addr().String()
	_, err = mustNew(t, client.Config{Endpoints: []string{secure.URL}, Timeout: time.Minute}).Put(t.Context(), "k", nil)
	wantError(t, err, client.NotDone, host, "certificate", "Config.CAFile names the file of the authorities")
	_, err = mustNew(t, client.Config{Endpoints: []string{host}, Timeout: time.Minute}).Get(t.Context(), "k", client.ReadOptions{})
	wantError(t, err, client.NotDone, host, "400 Bad Request", "give the endpoint as https://host:port, and Config.CAFile")
	plain := serve(t, ok)
	_, err = mustNew(t, client.Config{Endpoints: []string{"https://" + plain.addr()}, Timeout: time.Minute}).Get(t.Context(), "k", client.ReadOptions{})
	wantError(t, err, client.NotDone, plain.addr(), "give the endpoint as http://host:port")
}
