package recovery_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/cluster/recovery"
	"github.com/kvorum/kvorum/internal/dirlock"
	"github.com/kvorum/kvorum/internal/nodeid"
	"github.com/kvorum/kvorum/wal"
)

// TestSurvey_FindsWhatEachKnows surveys the three nodes of a cluster. The second is the
// most complete, although the third has more entries.
func TestSurvey_FindsWhatEachKnows(t *testing.T) {
	c := voters(3)
	want := []recovery.Survivor{{LastTerm: 1, LastIndex: 6}, {LastTerm: 3, LastIndex: 9}, {LastTerm: 2, LastIndex: 12}}
	var found []recovery.Survivor
	for i := range want {
		ident := identityOf(i + 1)
		dir := newNode(t, i+1, c, history(c, want[i].LastIndex, want[i].LastTerm))
		before := tree(t, dir)
		got, err := recovery.Survey(wal.OS(), dir)
		want[i].Dir, want[i].Name, want[i].Incarnation, want[i].Cluster = dir, ident.Name, ident.Incarnation, oldCluster
		want[i].SnapshotIndex = snapshotAt
		for _, server := range c.Servers {
			want[i].Voters = append(want[i].Voters, string(server.ID))
		}
		if err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("got %+v, %v, want %+v", got, err, want[i])
		}
		if got.ServerID() != string(ident.ServerID()) {
			t.Errorf("server id %s, want %s", got.ServerID(), ident.ServerID())
		}
		if !reflect.DeepEqual(tree(t, dir), before) {
			t.Errorf("the survey has changed %s", dir)
		}
		found = append(found, got)
	}
	if best := slices.MaxFunc(found, recovery.Survivor.Compare); best.Name != "n2" {
		t.Errorf("%s knows most, want n2", best.Name)
	}
	for left, want := range map[int]bool{1: true, 2: false, 3: false} {
		if got := recovery.MayLose(found[:left]); got != want {
			t.Errorf("%d of 3 left: got may lose %t, want %t", left, got, want)
		}
	}
}

// TestSurvey_NewestConfiguration shows that a configuration in the log takes precedence
// over the snapshot's, and that only its voters count.
func TestSurvey_NewestConfiguration(t *testing.T) {
	c := voters(2)
	newer := voters(2)
	newer.Servers[1].Suffrage = raft.Nonvoter
	entries := append(history(c, 6, 1), &raft.Log{Index: 7, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(newer)})
	s, err := recovery.Survey(wal.OS(), newNode(t, 1, c, entries))
	if want := []string{string(c.Servers[0].ID)}; err != nil || !slices.Equal(s.Voters, want) {
		t.Errorf("got %v, %v, want %v", s.Voters, err, want)
	}
	if recovery.MayLose([]recovery.Survivor{s}) {
		t.Error("the only voter is there, one of two before, and may lose writes")
	}
}

// TestMayLose shows the number of voters that must be left, and that other nodes don't count.
func TestMayLose(t *testing.T) {
	for n, need := range map[int]int{1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 7: 4} {
		var all []string
		for _, server := range voters(n).Servers {
			all = append(all, string(server.ID))
		}
		stranger := recovery.Survivor{Name: "x", Incarnation: "0", Voters: all, LastIndex: 9}
		survivors := []recovery.Survivor{stranger}
		for left := 0; left <= n; left++ {
			if got, want := recovery.MayLose(survivors), left < need; got != want {
				t.Errorf("%d of %d voters left: got %t, want %t", left, n, got, want)
			}
			ident := identityOf(left + 1)
			survivors = append(survivors, recovery.Survivor{Name: ident.Name, Incarnation: ident.Incarnation, Voters: all})
		}
	}
	if !recovery.MayLose([]recovery.Survivor{{Name: "n1", LastIndex: 9}}) {
		t.Error("no voter is known, and nothing is lost")
	}
}

// TestMayLose_OverruledConfiguration shows that a configuration in the log may have been
// overruled: n1 leads three voters and adds a fourth one, and no other node gets that
// entry; n2 and n3 elect one of themselves and acknowledge a write. A configuration in the
// snapshot was committed.
func TestMayLose_OverruledConfiguration(t *testing.T) {
	added := &raft.Log{Index: 7, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(voters(4))}
	survey := func(i int, snapshot raft.Configuration, entries []*raft.Log) recovery.Survivor {
		t.Helper()
		s, err := recovery.Survey(wal.OS(), newNode(t, i, snapshot, entries))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	entries := append(history(voters(3), 6, 1), added)
	n1, n2, n4 := survey(1, voters(3), entries), survey(2, voters(3), entries[:6]), survey(4, voters(3), entries)
	if !recovery.MayLose([]recovery.Survivor{n1, n4}) {
		t.Error("one of three voters is left, and the fourth that it has added: every write is said to be there")
	}
	if recovery.MayLose([]recovery.Survivor{n1, n2, n4}) {
		t.Error("two of three voters are left, and three of four: writes are said to be lost")
	}
	n1, n4 = survey(1, voters(4), history(voters(3), 6, 1)), survey(4, voters(4), history(voters(3), 6, 1))
	if recovery.MayLose([]recovery.Survivor{n1, n4}) {
		t.Error("two of four voters are left: writes are said to be lost")
	}
}

// TestMayLose_LostTail shows that a node whose log has lost its end does not count, and that
// one whose state has diverged does: its log is whole. A damaged note is refused.
func TestMayLose_LostTail(t *testing.T) {
	n1, n2 := newNode(t, 1, voters(3), history(voters(3), 6, 1)), newNode(t, 2, voters(3), history(voters(3), 6, 1))
	mayLose := func() bool {
		t.Helper()
		a, err := recovery.Survey(wal.OS(), n1)
		b, err2 := recovery.Survey(wal.OS(), n2)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return recovery.MayLose([]recovery.Survivor{a, b})
	}
	note := recovery.Note{Incarnation: identityOf(1).Incarnation, Index: 9, Own: "00000000000000aa", Majority: "00000000000000bb"}
	for _, lost := range []string{"", "it ends at 6"} {
		if note.LostTail = lost; lost != "" {
			note.Own, note.Majority = "", ""
		}
		if err := recovery.WriteNote(wal.OS(), n1, note); err != nil {
			t.Fatal(err)
		}
		if got, want := mayLose(), lost != ""; got != want {
			t.Errorf("with note %+v: got may lose %t, want %t", note, got, want)
		}
	}
	flip(t, filepath.Join(n1, noteFile), 24)
	before := tree(t, n1)
	for _, name := range []string{"Survey", "Recover"} {
		var version *wal.VersionError
		if err := onDirectory[name](n1); !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &version) {
			t.Errorf("%s with a damaged note: got %v", name, err)
		}
	}
	if !reflect.DeepEqual(tree(t, n1), before) {
		t.Error("something has changed")
	}
}

// TestSurvivor_Compare shows that the term counts first.
func TestSurvivor_Compare(t *testing.T) {
	at := func(term, index uint64) recovery.Survivor {
		return recovery.Survivor{LastTerm: term, LastIndex: index}
	}
	for _, tc := range []struct {
		less, more recovery.Survivor
	}{{at(1, 9), at(2, 3)}, {at(2, 3), at(2, 4)}, {at(0, 0), at(1, 1)}} {
		if a, b, c := tc.less.Compare(tc.more), tc.more.Compare(tc.less), tc.less.Compare(tc.less); a >= 0 || b <= 0 || c != 0 {
			t.Errorf("%+v and %+v: got %d, %d, %d", tc.less, tc.more, a, b, c)
		}
	}
}

// TestSameHistory tells directories of one cluster, recovered or not, from others.
func TestSameHistory(t *testing.T) {
	of := func(cluster string, former ...string) recovery.Survivor {
		return recovery.Survivor{Cluster: cluster, Former: former}
	}
	for i, tc := range []struct {
		survivors []recovery.Survivor
		want      bool
	}{
		{[]recovery.Survivor{of("a")}, true},
		{[]recovery.Survivor{of("a"), of("a")}, true},
		{[]recovery.Survivor{of("a"), of("b")}, false},
		{[]recovery.Survivor{of("b", "a"), of("a")}, true},
		{[]recovery.Survivor{of("a"), of("b", "a")}, true},
		{[]recovery.Survivor{of("c", "a", "b"), of("b"), of("b", "a")}, true},
		{[]recovery.Survivor{of("c", "a", "b"), of("b"), of("a")}, false},
	} {
		if got := recovery.SameHistory(tc.survivors); got != tc.want {
			t.Errorf("%d: got %t, want %t", i, got, tc.want)
		}
	}
}

// onDirectory are the functions that take the directory of a node that does not run.
var onDirectory = map[string]func(dir string) error{
	"Check":   func(dir string) error { _, err := recovery.Check(wal.OS(), dir); return err },
	"Survey":  func(dir string) error { _, err := recovery.Survey(wal.OS(), dir); return err },
	"Recover": func(dir string) error { _, err := recovery.Recover(wal.OS(), dir); return err },
}

// TestDirectory_NoNode shows that a directory without a node is refused, and gets no LOCK.
func TestDirectory_NoNode(t *testing.T) {
	for name, use := range onDirectory {
		empty := t.TempDir()
		for _, dir := range []string{empty, filepath.Join(empty, "none")} {
			if err := use(dir); !errors.Is(err, recovery.ErrNoNode) {
				t.Errorf("%s: got %v, want %v", name, err, recovery.ErrNoNode)
			}
		}
		if left, err := os.ReadDir(empty); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

// TestDirectory_InUse shows that a directory that a node uses is neither read nor repaired.
func TestDirectory_InUse(t *testing.T) {
	dir := newNode(t, 1, voters(1), history(voters(1), 9, 1))
	lock, err := dirlock.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	for name, use := range onDirectory {
		if err := use(dir); !errors.Is(err, dirlock.ErrInUse) {
			t.Errorf("%s: got %v, want %v", name, err, dirlock.ErrInUse)
		}
	}
	if !reflect.DeepEqual(tree(t, dir), before) {
		t.Error("something has changed")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // no function keeps the lock
		for _, name := range []string{"Check", "Survey", "Recover"} {
			if err := onDirectory[name](dir); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestDirectory_Missing removes a file from a node's directory: all functions refuse the
// rest, and change nothing.
func TestDirectory_Missing(t *testing.T) {
	dir := newNode(t, 1, voters(1), history(voters(1), 9, 1))
	away := filepath.Join(t.TempDir(), "away")
	for _, name := range []string{"wal", "wal/MANIFEST", "stable", "stable/raft.db", "snapshots", "node.json"} {
		lost := filepath.Join(dir, name)
		if err := os.Rename(lost, away); err != nil {
			t.Fatal(err)
		}
		want := wal.ErrCorrupt
		if name == nodeid.File {
			want = nodeid.ErrMissing
		}
		before := tree(t, dir)
		for function, use := range onDirectory {
			if err := use(dir); !errors.Is(err, want) {
				t.Errorf("%s without %s: got %v, want %v", function, name, err, want)
			}
		}
		if !reflect.DeepEqual(tree(t, dir), before) {
			t.Errorf("without %s: something has changed", name)
		}
		if err := os.Rename(away, lost); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDirectory_Damage changes a bit of each file: all functions that read it refuse it, and
// change nothing.
func TestDirectory_Damage(t *testing.T) {
	dir := newNode(t, 1, voters(1), history(voters(1), 9, 1))
	for _, pattern := range []string{"wal/wal-*.log", "snapshots/*/state", "snapshots/*/meta", "node.json", "floor.json"} {
		t.Run(filepath.Base(pattern), func(t *testing.T) {
			flip(t, only(t, dir, pattern), 24)
			before := tree(t, dir)
			for function, use := range onDirectory {
				var version *wal.VersionError
				if err := use(dir); !errors.Is(err, wal.ErrCorrupt) && !errors.As(err, &version) {
					t.Errorf("%s: got %v, want an error of damage", function, err)
				}
			}
			if !reflect.DeepEqual(tree(t, dir), before) {
				t.Error("something has changed")
			}
		})
	}
	for function, use := range onDirectory {
		if err := use(dir); err != nil {
			t.Errorf("%s of the whole directory: %v", function, err)
		}
	}
}
