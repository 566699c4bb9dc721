package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/store"
)

// runCheck runs check and returns its exit code and its output.
func runCheck(t *testing.T, dir string) (int, string) {
	t.Helper()
	return runOn(t, "check", dir)
}

// runOn runs a subcommand on directories and returns its exit code and its output.
func runOn(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String() + errs.String()
}

// flipLast changes the last byte that is not zero of a file.
func flipLast(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := len(bytes.TrimRight(data, "\x00")) - 1
	data[at/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheck_Store(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := store.New(store.WithDataDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set("k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if code, out := runCheck(t, dir); code == 0 || !strings.Contains(out, "in use") {
		t.Errorf("while open: exit %d, %s", code, out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if code, out := runCheck(t, dir); code != 0 || !strings.Contains(out, "1 keys") || !strings.HasSuffix(out, "ok\n") {
		t.Errorf("whole: exit %d, %s", code, out)
	}
	snapshots, err := filepath.Glob(filepath.Join(dir, "snapshots", "*.snap"))
	if err != nil || len(snapshots) != 1 {
		t.Fatalf("snapshots: %v, %v", snapshots, err)
	}
	flipLast(t, snapshots[0])
	if code, out := runCheck(t, dir); code != 1 || !strings.Contains(out, snapshots[0]) || !strings.Contains(out, "offset") {
		t.Errorf("damaged: exit %d, %s", code, out)
	}
	if err := os.Remove(snapshots[0]); err != nil {
		t.Fatal(err)
	}
	if code, out := runCheck(t, dir); code != 1 || !strings.Contains(out, "missing") || !strings.Contains(out, snapshots[0]) {
		t.Errorf("snapshot missing: exit %d, %s", code, out)
	}
	foreign := t.TempDir()
	writeFile(t, filepath.Join(foreign, "wal", "wal.go"), "package wal")
	for _, none := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none"), foreign} {
		if code, out := runCheck(t, none); code != 1 || out != "kvorum: "+none+" holds neither a node nor an embedded store\n" {
			t.Errorf("no store: exit %d, %s", code, out)
		}
	}
	wantKV(t, tree(t, foreign), map[string]string{"wal/wal.go": "package wal"})
}

// closedNode makes the data directory of a node that is not running.
func closedNode(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	node, err := cluster.Open(context.Background(), cluster.Config{
		Name: "n1", DataDir: dir, PeerListener: listener, AdvertisePeer: listener.Addr().String(),
		AdvertiseHTTP: "127.0.0.1:1", GossipAddr: "127.0.0.1:0", BootstrapExpect: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for node.Ready() != nil && ctx.Err() == nil {
		_, _ = node.Get(ctx, "k", kv.ReadOptions{})
	}
	if _, err := node.Do(ctx, kv.Put("k", []byte("v"))); err != nil {
		t.Fatal(err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheck_Node(t *testing.T) {
	dir := closedNode(t)
	if code, out := runCheck(t, dir); code != 0 || !strings.Contains(out, "node n1") || !strings.HasSuffix(out, "ok\n") {
		t.Errorf("whole: exit %d, %s", code, out)
	}
	segment := filepath.Join(dir, "wal", "wal-0000000000000001.log")
	flipLast(t, segment)
	if code, out := runCheck(t, dir); code != 1 || !strings.Contains(out, segment) || !strings.Contains(out, "offset") {
		t.Errorf("damaged: exit %d, %s", code, out)
	}
}
