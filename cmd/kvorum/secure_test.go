package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestServer_TLS serves HTTPS with a certificate that is replaced, with its authority,
// while the node runs, and refuses clients that don't trust it.
func TestServer_TLS(t *testing.T) {
	dir := t.TempDir()
	files := testkit.NewAuthority(t, "first").Issue(t, dir, "127.0.0.1", nil)
	n := startNode(t, nil, "--id", "n1", "--data-dir", filepath.Join(dir, "data"), "--bootstrap-expect", "1",
		"--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-ca", files.CA)
	https := "--endpoints=https://" + n.http
	poll(t, "a put over TLS", func() bool {
		return runKvorum(t, "", "put", "k", "v", https, "--ca", files.CA).code == exitOK
	})
	wantFailure(t, runKvorum(t, "", "get", "k", https), exitError, "certificate")
	wantFailure(t, runKvorum(t, "", "get", "k", "--endpoints=http://"+n.http), exitError, "400")
	old := filepath.Join(t.TempDir(), "old.pem")
	content, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, old, string(content))

	testkit.NewAuthority(t, "second").Issue(t, dir, "127.0.0.1", nil)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, "the new certificate", func() bool {
		return strings.Contains(n.log.String(), "certificates replaced")
	})
	if r := runKvorum(t, "", "get", "k", https, "--ca", files.CA); r.code != exitOK || r.stdout != "v" {
		t.Errorf("get with the new certificate: got %+v", r)
	}
	wantFailure(t, runKvorum(t, "", "get", "k", https, "--ca", old), exitError, "certificate")

	writeFile(t, files.Cert, "garbage")
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, "the bad certificate to be refused", func() bool {
		return strings.Contains(n.log.String(), "those from before stay in use")
	})
}

func TestServer_BadSecurity(t *testing.T) {
	dir := t.TempDir()
	files := testkit.NewAuthority(t, "authority").Issue(t, dir, "127.0.0.1", nil)
	short := filepath.Join(dir, "short")
	writeFile(t, short, "c2hvcnQ=")
	for _, tc := range []struct {
		args []string
		part string
	}{
		{[]string{"--tls-cert", files.Cert}, "go together"},
		{[]string{"--tls-cert", files.Cert, "--tls-key", files.Key}, "go together"},
		{[]string{"--tls-cert", "/nonexistent", "--tls-key", files.Key, "--tls-ca", files.CA}, "/nonexistent"},
		{[]string{"--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-ca", short}, short},
		{[]string{"--gossip-key-file", "/nonexistent"}, "/nonexistent"},
		{[]string{"--gossip-key-file", short}, "16, 24 or 32"},
	} {
		args := append([]string{"server", "--id", "n1", "--data-dir", filepath.Join(dir, "data")}, tc.args...)
		wantFailure(t, runKvorum(t, "", args...), exitUsage, tc.part)
	}
	wantFailure(t, runKvorum(t, "", "get", "k", "--ca", short), exitUsage, "no certificate")
}
