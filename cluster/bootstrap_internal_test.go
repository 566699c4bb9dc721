package cluster

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/internal/sealed"
	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

// TestCandidates is the table of who would form a cluster.
func TestCandidates(t *testing.T) {
	node := func(id string, expect int, cluster string) Announcement {
		return Announcement{ID: id, Expect: expect, Cluster: cluster}
	}
	for _, tt := range []struct {
		name string
		seen []Announcement
		want string // names of the members, empty for none
	}{
		{"Three", []Announcement{node("n2.b", 3, ""), node("n1.a", 3, ""), node("n3.c", 3, "")}, "[n1.a n2.b n3.c]"},
		{"TooFew", []Announcement{node("n1.a", 3, ""), node("n2.b", 3, "")}, ""},
		{"LowestOfMore", []Announcement{node("n4.d", 3, ""), node("n2.b", 3, ""), node("n1.a", 3, ""), node("n3.c", 3, "")}, "[n1.a n2.b n3.c]"},
		{"WaitingToBeJoinedDoesNotCount", []Announcement{node("n1.a", 3, ""), node("n2.b", 3, ""), node("n3.c", 0, "")}, ""},
		{"OtherNumber", []Announcement{node("n1.a", 3, ""), node("n2.b", 3, ""), node("n3.c", 3, ""), node("n4.d", 5, "")}, ""},
		{"NameTwice", []Announcement{node("n1.a", 3, ""), node("n2.b", 3, ""), node("n2.x", 3, ""), node("n3.c", 3, "")}, ""},
		{"ClusterExists", []Announcement{node("n1.a", 3, ""), node("n2.b", 3, ""), node("n3.c", 3, ""), node("n9.z", 3, "c1")}, ""},
		{"SelfNotSeen", []Announcement{node("n2.b", 2, ""), node("n3.c", 2, "")}, ""},
	} {
		seen := make(map[raft.ServerID]Announcement)
		for _, a := range tt.seen {
			seen[announcedID(a)] = a
		}
		expect := 3
		if tt.name == "SelfNotSeen" {
			expect = 2
		}
		members, err := candidates(seen, "n1.a", expect)
		got := ""
		if err == nil {
			var ids []string
			for _, m := range members {
				ids = append(ids, m.ID)
			}
			got = fmt.Sprint(ids)
		}
		if got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestBootstrapPlan_Crash shows that a plan is there after a power loss as soon
// as it was saved, and that a damaged one is refused.
func TestBootstrapPlan_Crash(t *testing.T) {
	files := crashfs.New()
	if err := files.MkdirAll("data"); err != nil {
		t.Fatal(err)
	}
	if err := files.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	plan := &bootstrapPlan{Cluster: "c1", Members: []Announcement{{ID: "n1.a", PeerAddr: "h:1"}}}
	if err := plan.save(files, "data"); err != nil {
		t.Fatal(err)
	}
	after := files.Crash(crashfs.CrashOptions{})
	got, err := loadPlan(after, "data")
	if err != nil || got == nil || got.Cluster != "c1" || len(got.Members) != 1 || got.Members[0] != plan.Members[0] {
		t.Fatalf("after a crash: got %+v, %v", got, err)
	}
	if err := wal.WriteFileAtomic(after, planPath("data"), []byte(`{"format":1,"checksum":"00000000","body":{}}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPlan(after, "data"); err == nil {
		t.Error("a damaged plan is read")
	}
	if err := removePlan(after, "data"); err != nil {
		t.Fatal(err)
	}
	if got, err := loadPlan(after, "data"); got != nil || err != nil {
		t.Errorf("after removal: got %+v, %v", got, err)
	}
}

// TestPlan_NewerFormat shows that a bootstrap plan of a newer format is refused. The error
// names the file, the version that was found and the one that is known, and the file stays
// as it is. (raftstore, discovery, recovery and nodeid test their files.)
func TestPlan_NewerFormat(t *testing.T) {
	files, path := newDataDir(t), planPath("data")
	content, err := sealed.Encode(planFormat+1, map[string]string{"zone": "a"})
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, files, path, content)
	_, err = loadPlan(files, "data")
	var version *wal.VersionError
	if !errors.As(err, &version) || version.File != path || version.Found != planFormat+1 || version.Supported != planFormat {
		t.Fatalf("got %v", err)
	}
	for _, fact := range []string{path, fmt.Sprintf("version %d,", planFormat+1), fmt.Sprintf("version %d", planFormat)} {
		if !strings.Contains(err.Error(), fact) {
			t.Errorf("%q does not say %q", err, fact)
		}
	}
	if left := mustRead(t, files, path); string(left) != string(content) {
		t.Errorf("the file holds %q now", left)
	}
}

func mustRead(t *testing.T, files wal.FS, path string) []byte {
	t.Helper()
	file, err := files.OpenRead(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return content
}

// newDataDir returns a filesystem with a durable directory "data".
func newDataDir(t testing.TB) *crashfs.FS {
	t.Helper()
	fsys := crashfs.New()
	mustMkdir(t, fsys, "data")
	if err := fsys.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	return fsys
}

func mustWrite(t testing.TB, fsys wal.FS, path string, content []byte) {
	t.Helper()
	if err := wal.WriteFileAtomic(fsys, path, content); err != nil {
		t.Fatal(err)
	}
}

func mustMkdir(t testing.TB, fsys wal.FS, dir string) {
	t.Helper()
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
}
