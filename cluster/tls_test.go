package cluster_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/cluster/internal/clustertest"
	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
)

// certificates are one node's files, and what has read them.
type certificates struct {
	testkit.CertFiles
	dir  string
	read *transport.TLSFiles
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
	t.Parallel()
	before, after := testkit.NewAuthority(t, "before"), testkit.NewAuthority(t, "after")
	both := slices.Concat(before.PEM, after.PEM)
	var all []*certificates
	nodes := clustertest.Open(t, 3, func(c *cluster.Config) {
		own := &certificates{dir: t.TempDir()}
		own.CertFiles = before.Issue(t, own.dir, "127.0.0.1", nil)
		var err error
		if own.read, err = transport.LoadTLSFiles(own.Cert, own.Key, own.CA); err != nil {
			t.Fatal(err)
		}
		all, c.TLS = append(all, own), own.read.TLS()
	})
	writer := clustertest.WriteOn(t, nodes)
	for _, change := range []func(*certificates){
		func(c *certificates) { writeAll(t, c.CA, both) },
		func(c *certificates) {
			after.Issue(t, c.dir, "127.0.0.1", nil)
			writeAll(t, c.CA, both) // some nodes have certificates of the first one yet
		},
		func(c *certificates) { writeAll(t, c.CA, after.PEM) },
	} {
		for _, c := range all {
			change(c)
			if err := c.read.Reload(); err != nil {
				t.Fatal(err)
			}
			writer.Await(3)
		}
	}
	writer.Stop()
	for _, n := range nodes {
		for _, other := range nodes {
			n.Peers().Forget(other.ID())
		}
	}
	writer = clustertest.WriteOn(t, nodes)
	writer.Await(100)
	writer.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, n := range nodes {
		if _, err := n.Get(ctx, "k", kv.ReadOptions{}); err != nil {
			t.Errorf("%s: %v", n.Config.Name, err)
		}
	}
}
