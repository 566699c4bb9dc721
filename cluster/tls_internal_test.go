package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/transport"
)

// certificates are one node's files, and what has read them.
type certificates struct {
	cert, key, ca string
	files         *transport.TLSFiles
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{cert: template, key: newKey(t)}
	a.cert, a.pem = sign(t, template, a, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template *x509.Certificate, by *authority, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue writes a new certificate for 127.0.0.1 that a signs.
func (c *certificates) issue(t *testing.T, a *authority, serial int64) {
	t.Helper()
	key := newKey(t)
	_, cert := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a, key)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, c.cert, cert)
	writeAll(t, c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func writeAll(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNode_TLSReload replaces, in a cluster that is written to, the authority and
// all certificates, node by node. Connections that are made afterwards rest on the
// new ones alone.
func TestNode_TLSReload(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	var all []*certificates
	nodes := openCluster(t, 3, func(c *Config) {
		dir := t.TempDir()
		own := &certificates{cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key"), ca: filepath.Join(dir, "ca")}
		own.issue(t, before, int64(len(all)))
		writeAll(t, own.ca, before.pem)
		var err error
		if own.files, err = transport.LoadTLSFiles(own.cert, own.key, own.ca); err != nil {
			t.Fatal(err)
		}
		all, c.TLS = append(all, own), own.files.TLS()
	})
	stop := writeOn(t, nodes)
	for _, change := range []func(*certificates){
		func(c *certificates) { writeAll(t, c.ca, slices.Concat(before.pem, after.pem)) },
		func(c *certificates) { c.issue(t, after, 100) },
		func(c *certificates) { writeAll(t, c.ca, after.pem) },
	} {
		for _, c := range all {
			change(c)
			if err := c.files.Reload(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	stop()
	for _, n := range nodes {
		for _, other := range nodes {
			n.peers.Forget(other.id())
		}
	}
	stop = writeOn(t, nodes)
	time.Sleep(2 * time.Second)
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, n := range nodes {
		if _, err := n.Get(ctx, "k", ReadOptions{}); err != nil {
			t.Errorf("%s: %v", n.cfg.Name, err)
		}
	}
}
