package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/cluster/raftstore"
	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
)

const (
	// identityFile is the name of the identity's file below the data directory.
	identityFile = "node.json"
	// identityFormat is the version of that file which this program writes and reads.
	identityFormat = 1
	// maxNameBytes bounds a node's name.
	maxNameBytes = 64
	// incarnationBytes and clusterIDBytes are how much randomness the two ids hold.
	incarnationBytes = 8
	clusterIDBytes   = 16
)

// ErrIdentityMissing is returned for a data directory that holds a node's log,
// votes or snapshots but not its node.json: under a new identity they would be
// another node's, and under a guessed one a vote could be given twice.
var ErrIdentityMissing = errors.New("data directory has data but no " + identityFile)

// errIdentityExists is returned by writeIdentity where there is one: it is
// written once and for all.
var errIdentityExists = errors.New("data directory has an identity already")

// identity says which node a data directory belongs to. Incarnation is made
// together with the directory, so a node whose disk was wiped comes back as
// another server and can't contradict a vote it no longer remembers.
type identity struct {
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
	Cluster     string `json:"cluster"` // empty until the node belongs to one
	// Former are the clusters that the node was recovered from, the oldest first.
	Former []string `json:"former_clusters,omitempty"`
}

// serverID returns the name by which raft knows this node.
func (id identity) serverID() raft.ServerID {
	return raft.ServerID(id.Name + "." + id.Incarnation)
}

// nameOf returns the name part of a server id. A name holds no dot, so what
// follows the last one is the incarnation.
func nameOf(id raft.ServerID) string {
	if dot := strings.LastIndexByte(string(id), '.'); dot >= 0 {
		return string(id)[:dot]
	}
	return string(id)
}

// validateName returns a *ValidationError unless name is 1 to 64 letters,
// digits, '-' and '_' of ASCII. A dot would make a server id ambiguous to
// people, and anything else does not survive file names, labels and URLs.
func validateName(name string) error {
	bad := func(format string, args ...any) error {
		return &ValidationError{Field: "id", Reason: fmt.Sprintf(format, args...)}
	}
	if name == "" {
		return bad("is required")
	}
	if len(name) > maxNameBytes {
		return &ValidationError{Field: "id", Size: int64(len(name)), Limit: maxNameBytes,
			Reason: fmt.Sprintf("is %d bytes long, the limit is %d", len(name), maxNameBytes)}
	}
	for _, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return bad("%q may hold only letters, digits, '-' and '_'", name)
		}
	}
	return nil
}

// newIncarnation returns 16 random hexadecimal digits.
func newIncarnation() string { return randomHex(incarnationBytes) }

// newClusterID returns 32 random hexadecimal digits.
func newClusterID() string { return randomHex(clusterIDBytes) }

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return hex.EncodeToString(b)
}

// loadIdentity reads who the node of dir is. A directory without an identity
// is a new node's (false) if it holds nothing that only an identified node
// could have written, and ErrIdentityMissing otherwise. A damaged file is a
// *wal.CorruptionError, one of a newer program a *wal.VersionError.
func loadIdentity(fsys wal.FS, dir string) (identity, bool, error) {
	path := filepath.Join(dir, identityFile)
	var id identity
	err := sealed.Read(fsys, path, identityFormat, &id)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, checkUnused(fsys, dir)
	}
	if err != nil {
		return identity{}, false, fmt.Errorf("read identity: %w", err)
	}
	if err := id.validate(); err != nil {
		return identity{}, false, &wal.CorruptionError{File: path, Reason: err.Error()}
	}
	return id, true, nil
}

// validate returns what is wrong with an identity that was read.
func (id identity) validate() error {
	if err := validateName(id.Name); err != nil {
		return err
	}
	if !isHex(id.Incarnation, 2*incarnationBytes) {
		return fmt.Errorf("incarnation %q is not %d hexadecimal digits", id.Incarnation, 2*incarnationBytes)
	}
	if id.Cluster == "" || len(id.Cluster) > 4*clusterIDBytes {
		return fmt.Errorf("cluster id has %d bytes", len(id.Cluster))
	}
	return nil
}

func isHex(s string, digits int) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == digits
}

// checkUnused returns ErrIdentityMissing if dir holds what a member has written.
func checkUnused(fsys wal.FS, dir string) error {
	for _, name := range raftstore.Names() {
		_, err := fsys.Stat(filepath.Join(dir, name))
		if err == nil {
			return fmt.Errorf("%w: %s holds %s", ErrIdentityMissing, dir, name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read data directory: %w", err)
		}
	}
	return nil
}

// writeIdentity makes id the identity of dir, durably. It is written when the
// node accepts the cluster it belongs to, before anything else of that cluster,
// and never again.
func writeIdentity(fsys wal.FS, dir string, id identity) error {
	if err := id.validate(); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	path := filepath.Join(dir, identityFile)
	if _, err := fsys.Stat(path); err == nil {
		return fmt.Errorf("write identity: %w", errIdentityExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write identity: %w", err)
	}
	return replaceIdentity(fsys, dir, id)
}

// replaceIdentity makes id the identity of dir, whichever it had.
func replaceIdentity(fsys wal.FS, dir string, id identity) error {
	if err := sealed.Write(fsys, filepath.Join(dir, identityFile), identityFormat, id); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}
