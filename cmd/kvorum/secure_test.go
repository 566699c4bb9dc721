package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newCertificate writes a certificate for 127.0.0.1 that is its own authority,
// and its key, into dir.
func newCertificate(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
	return cert, key
}

// TestServer_TLS serves HTTPS with a certificate that is replaced while the node
// runs, and refuses clients that don't trust it.
func TestServer_TLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := newCertificate(t, dir, 1)
	n := startNode(t, nil, "--id", "n1", "--data-dir", filepath.Join(dir, "data"), "--bootstrap-expect", "1",
		"--tls-cert", cert, "--tls-key", key, "--tls-ca", cert)
	https := "--endpoints=https://" + n.http
	poll(t, "a put over TLS", func() bool {
		return runKvorum(t, "", "put", "k", "v", https, "--ca", cert).code == exitOK
	})
	wantFailure(t, runKvorum(t, "", "get", "k", https), exitError, "certificate")
	wantFailure(t, runKvorum(t, "", "get", "k", "--endpoints=http://"+n.http), exitError, "400")
	old := filepath.Join(t.TempDir(), "old.pem")
	content, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, old, string(content))

	newCertificate(t, dir, 2)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, "the new certificate", func() bool {
		return strings.Contains(n.log.String(), "certificates replaced")
	})
	if r := runKvorum(t, "", "get", "k", https, "--ca", cert); r.code != exitOK || r.stdout != "v" {
		t.Errorf("get with the new certificate: got %+v", r)
	}
	wantFailure(t, runKvorum(t, "", "get", "k", https, "--ca", old), exitError, "certificate")

	writeFile(t, cert, "garbage")
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, "the bad certificate to be refused", func() bool {
		return strings.Contains(n.log.String(), "those from before stay in use")
	})
}

func TestServer_BadSecurity(t *testing.T) {
	dir := t.TempDir()
	cert, key := newCertificate(t, dir, 1)
	short := filepath.Join(dir, "short")
	writeFile(t, short, "c2hvcnQ=")
	for _, tc := range []struct {
		args []string
		part string
	}{
		{[]string{"--tls-cert", cert}, "go together"},
		{[]string{"--tls-cert", cert, "--tls-key", key}, "go together"},
		{[]string{"--tls-cert", "/nonexistent", "--tls-key", key, "--tls-ca", cert}, "/nonexistent"},
		{[]string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", short}, short},
		{[]string{"--gossip-key-file", "/nonexistent"}, "/nonexistent"},
		{[]string{"--gossip-key-file", short}, "16, 24 or 32"},
	} {
		args := append([]string{"server", "--id", "n1", "--data-dir", filepath.Join(dir, "data")}, tc.args...)
		wantFailure(t, runKvorum(t, "", args...), exitUsage, tc.part)
	}
	wantFailure(t, runKvorum(t, "", "get", "k", "--ca", short), exitUsage, "no certificate")
}
