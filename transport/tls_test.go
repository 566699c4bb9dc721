package transport_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/transport"
)

func mustLoad(t testing.TB, f testkit.CertFiles) *transport.TLSFiles {
	t.Helper()
	files, err := transport.LoadTLSFiles(f.Cert, f.Key, f.CA)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// startTLS starts a node with a certificate.
func startTLS(t testing.TB, id string, addrs *book, files *transport.TLSFiles) *node {
	t.Helper()
	return startNode(t, id, addrs, func(c *transport.Config) { c.TLS = files.TLS() })
}

// TestTLS checks that all a transport does works over TLS, large appends and
// snapshots included.
func TestTLS(t *testing.T) {
	ca, addrs := testkit.NewAuthority(t, "ca"), &book{}
	a := startTLS(t, "a", addrs, mustLoad(t, ca.Issue(t, t.TempDir(), "127.0.0.1", nil)))
	b := startTLS(t, "b", addrs, mustLoad(t, ca.Issue(t, t.TempDir(), "127.0.0.1", nil)))
	mustCall(t, a, "b", "in secret")
	snapshot := bytes.Repeat([]byte("snapshot"), 100<<10)
	entries := 0
	respond(t, b, func(rpc raft.RPC) (any, error) {
		switch cmd := rpc.Command.(type) {
		case *raft.AppendEntriesRequest:
			entries += len(cmd.Entries)
			return &raft.AppendEntriesResponse{Success: true}, nil
		case *raft.InstallSnapshotRequest:
			got, err := io.ReadAll(rpc.Reader)
			return &raft.InstallSnapshotResponse{Success: bytes.Equal(got, snapshot)}, err
		}
		return nil, errors.New("unexpected")
	})
	var resp raft.AppendEntriesResponse
	if err := a.Raft().AppendEntries("b", "b", appendOf(a, 9, 1<<20), &resp); err != nil || !resp.Success || entries != 9 {
		t.Errorf("AppendEntries = %+v, %v; %d entries arrived", resp, err, entries)
	}
	if got := await(t, "the snapshot", install(a, int64(len(snapshot)), bytes.NewReader(snapshot))); got.err != nil {
		t.Errorf("InstallSnapshot: %v", got.err)
	}
}

// TestTLS_Refused checks who gets no connection.
func TestTLS_Refused(t *testing.T) {
	ca, other := testkit.NewAuthority(t, "ca"), testkit.NewAuthority(t, "other")
	good := func(t *testing.T) *transport.TLSFiles { return mustLoad(t, ca.Issue(t, t.TempDir(), "127.0.0.1", nil)) }
	for name, c := range map[string]struct {
		a, b    func(*testing.T) *transport.TLSFiles
		refuser string
	}{
		"OtherAuthority": {good, func(t *testing.T) *transport.TLSFiles {
			return mustLoad(t, other.Issue(t, t.TempDir(), "127.0.0.1", nil))
		}, "a"},
		"WrongName":     {good, func(t *testing.T) *transport.TLSFiles { return mustLoad(t, ca.Issue(t, t.TempDir(), "127.9.9.9", nil)) }, "a"},
		"WrongHostName": {good, func(t *testing.T) *transport.TLSFiles { return mustLoad(t, ca.Issue(t, t.TempDir(), "localhost", nil)) }, "a"},
		"DialerOfOtherAuthority": {func(t *testing.T) *transport.TLSFiles {
			f := other.Issue(t, t.TempDir(), "127.0.0.1", nil)
			if err := os.WriteFile(f.CA, ca.PEM, 0o600); err != nil { // it trusts the others
				t.Fatal(err)
			}
			return mustLoad(t, f)
		}, good, "b"},
		"DialerPlain":   {nil, good, "b"},
		"AcceptorPlain": {good, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			addrs := &book{}
			start := func(id string, files func(*testing.T) *transport.TLSFiles) *node {
				if files == nil {
					return startNode(t, id, addrs, nil)
				}
				return startTLS(t, id, addrs, files(t))
			}
			nodes := map[string]*node{"a": start("a", c.a), "b": start("b", c.b)}
			_, err := nodes["a"].Call(ctxFor(t), "b", kindEcho, nil)
			if !errors.Is(err, transport.ErrNotSent) {
				t.Errorf("Call: got %v, want ErrNotSent", err)
			}
			var refused *transport.RefusedError
			if name == "DialerOfOtherAuthority" && (!errors.As(err, &refused) || !refused.Remote || refused.Reason != transport.RefusedTLS) {
				t.Errorf("Call: got %v, want to be told that b refuses the certificate", err)
			}
			if got := await(t, "a snapshot", install(nodes["a"], 1, strings.NewReader("x"))); !errors.Is(got.err, transport.ErrNotSent) {
				t.Errorf("InstallSnapshot: got %v, want ErrNotSent", got.err)
			}
			if c.refuser != "" {
				poll(t, "the refusal is counted", func() bool { return nodes[c.refuser].Stats().Refused[transport.RefusedTLS] != 0 })
			}
			if len(nodes["a"].learned)+len(nodes["b"].learned) != 0 {
				t.Errorf("a refused peer was learned")
			}
		})
	}
}

// TestTLS_OldVersion checks that a client that knows no TLS 1.3, or shows no
// certificate, gets nothing.
func TestTLS_OldVersion(t *testing.T) {
	ca := testkit.NewAuthority(t, "ca")
	files := ca.Issue(t, t.TempDir(), "127.0.0.1", nil)
	b := startTLS(t, "b", &book{}, mustLoad(t, files))
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]*tls.Config{
		"TLS12":         {RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12},
		"NoCertificate": {RootCAs: ca.Pool()},
	} {
		c, err := tls.Dial("tcp", b.addr, cfg)
		if err != nil {
			continue
		}
		io.WriteString(c, "K"+message(5, identity("x", "c")+text("b")))
		if got, err := io.ReadAll(c); len(got) != 0 || err == nil {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		c.Close()
	}
	if len(b.learned) != 0 {
		t.Errorf("it was learned")
	}
}

// TestTLS_Reload checks that certificates and authorities are replaced while
// nodes run: new connections use the new ones.
func TestTLS_Reload(t *testing.T) {
	ca, next, addrs := testkit.NewAuthority(t, "ca"), testkit.NewAuthority(t, "next"), &book{}
	dirA, dirB := t.TempDir(), t.TempDir()
	filesA, filesB := mustLoad(t, ca.Issue(t, dirA, "127.0.0.1", nil)), mustLoad(t, ca.Issue(t, dirB, "127.0.0.1", nil))
	a, b := startTLS(t, "a", addrs, filesA), startTLS(t, "b", addrs, filesB)
	mustCall(t, a, "b", "before")

	paths := next.Issue(t, dirB, "127.0.0.1", nil)
	if err := filesB.Reload(); err != nil {
		t.Fatal(err)
	}
	mustCall(t, a, "b", "on the connection that is open")
	if _, err := a.Probe(ctxFor(t), b.addr); err == nil {
		t.Errorf("a certificate of another authority was accepted")
	}
	next.Issue(t, dirA, "127.0.0.1", nil)
	if err := filesA.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Probe(ctxFor(t), b.addr); err != nil {
		t.Errorf("after both were replaced: %v", err)
	}

	if err := os.WriteFile(paths.Cert, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := filesB.Reload(); err == nil || !strings.Contains(err.Error(), paths.Cert) {
		t.Errorf("Reload of a torn file: got %v, want an error that names it", err)
	}
	if _, err := a.Probe(ctxFor(t), b.addr); err != nil {
		t.Errorf("after a failed Reload: %v", err)
	}
}

func TestLoadTLSFiles_Invalid(t *testing.T) {
	f := testkit.NewAuthority(t, "ca").Issue(t, t.TempDir(), "127.0.0.1", nil)
	for name, g := range map[string]testkit.CertFiles{
		"NoCert":    {Cert: f.Cert + "x", Key: f.Key, CA: f.CA},
		"NoCA":      {Cert: f.Cert, Key: f.Key, CA: f.CA + "x"},
		"CAIsNone":  {Cert: f.Cert, Key: f.Key, CA: f.Key},
		"KeyOfElse": {Cert: f.CA, Key: f.Key, CA: f.CA},
	} {
		if _, err := transport.LoadTLSFiles(g.Cert, g.Key, g.CA); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
