package transport_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = mustKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func mustKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certFiles are the three files of a node.
type certFiles struct{ cert, key, ca string }

// issue writes a certificate for 127.0.0.1, or another host, into dir.
func (a *authority) issue(t testing.TB, dir, host string, serial int64) certFiles {
	t.Helper()
	key := mustKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := certFiles{filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")}
	for path, content := range map[string][]byte{
		f.cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		f.key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		f.ca:   a.pem,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func mustLoad(t testing.TB, f certFiles) *transport.TLSFiles {
	t.Helper()
	files, err := transport.LoadTLSFiles(f.cert, f.key, f.ca)
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
	ca, addrs := newAuthority(t, "ca"), &book{}
	a := startTLS(t, "a", addrs, mustLoad(t, ca.issue(t, t.TempDir(), "127.0.0.1", 1)))
	b := startTLS(t, "b", addrs, mustLoad(t, ca.issue(t, t.TempDir(), "127.0.0.1", 2)))
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
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	good := func(t *testing.T) *transport.TLSFiles { return mustLoad(t, ca.issue(t, t.TempDir(), "127.0.0.1", 1)) }
	for name, c := range map[string]struct {
		a, b    func(*testing.T) *transport.TLSFiles
		refuser string
	}{
		"OtherAuthority": {good, func(t *testing.T) *transport.TLSFiles {
			return mustLoad(t, other.issue(t, t.TempDir(), "127.0.0.1", 1))
		}, "a"},
		"WrongName":     {good, func(t *testing.T) *transport.TLSFiles { return mustLoad(t, ca.issue(t, t.TempDir(), "127.9.9.9", 1)) }, "a"},
		"WrongHostName": {good, func(t *testing.T) *transport.TLSFiles { return mustLoad(t, ca.issue(t, t.TempDir(), "localhost", 1)) }, "a"},
		"DialerOfOtherAuthority": {func(t *testing.T) *transport.TLSFiles {
			f := other.issue(t, t.TempDir(), "127.0.0.1", 1)
			if err := os.WriteFile(f.ca, ca.pem, 0o600); err != nil { // it trusts the others
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
	ca := newAuthority(t, "ca")
	files := ca.issue(t, t.TempDir(), "127.0.0.1", 1)
	b := startTLS(t, "b", &book{}, mustLoad(t, files))
	pair, err := tls.LoadX509KeyPair(files.cert, files.key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for name, cfg := range map[string]*tls.Config{
		"TLS12":         {RootCAs: roots, Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12},
		"NoCertificate": {RootCAs: roots},
	} {
		c, err := tls.Dial("tcp", b.addr, cfg)
		if err != nil {
			continue
		}
		io.WriteString(c, "K"+message(3, identity("x", "c")+text("b")))
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
	ca, next, addrs := newAuthority(t, "ca"), newAuthority(t, "next"), &book{}
	dirA, dirB := t.TempDir(), t.TempDir()
	filesA, filesB := mustLoad(t, ca.issue(t, dirA, "127.0.0.1", 1)), mustLoad(t, ca.issue(t, dirB, "127.0.0.1", 2))
	a, b := startTLS(t, "a", addrs, filesA), startTLS(t, "b", addrs, filesB)
	mustCall(t, a, "b", "before")

	paths := next.issue(t, dirB, "127.0.0.1", 3)
	if err := filesB.Reload(); err != nil {
		t.Fatal(err)
	}
	mustCall(t, a, "b", "on the connection that is open")
	if _, err := a.Probe(ctxFor(t), b.addr); err == nil {
		t.Errorf("a certificate of another authority was accepted")
	}
	next.issue(t, dirA, "127.0.0.1", 4)
	if err := filesA.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Probe(ctxFor(t), b.addr); err != nil {
		t.Errorf("after both were replaced: %v", err)
	}

	if err := os.WriteFile(paths.cert, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := filesB.Reload(); err == nil || !strings.Contains(err.Error(), paths.cert) {
		t.Errorf("Reload of a torn file: got %v, want an error that names it", err)
	}
	if _, err := a.Probe(ctxFor(t), b.addr); err != nil {
		t.Errorf("after a failed Reload: %v", err)
	}
}

func TestLoadTLSFiles_Invalid(t *testing.T) {
	f := newAuthority(t, "ca").issue(t, t.TempDir(), "127.0.0.1", 1)
	for name, g := range map[string]certFiles{
		"NoCert":    {f.cert + "x", f.key, f.ca},
		"NoCA":      {f.cert, f.key, f.ca + "x"},
		"CAIsNone":  {f.cert, f.key, f.key},
		"KeyOfElse": {f.ca, f.key, f.ca},
	} {
		if _, err := transport.LoadTLSFiles(g.cert, g.key, g.ca); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
