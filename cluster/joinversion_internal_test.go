package cluster

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/kv"
)

// TestJoin_TooOldForWhatIsWritten has an older node join after a newer command was written.
// It is refused, and not told to belong to the cluster, until the log of no voter has it.
func TestJoin_TooOldForWhatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 3, func(cfg *Config) { cfg.Timing.Commit = 10 * time.Millisecond })
		leader, one, other := b.leaderAndOthers(t)
		if _, err := leader.Do(t.Context(), two("a", "b")); err != nil {
			t.Fatal(err)
		}
		mustPut(t, leader, "c", "") // a snapshot leaves its last entry in the log
		joiner := b.openJoiner(t, "n4", func(cfg *Config) { cfg.MaxCommandVersion = 1 })
		refused := func(what string) {
			t.Helper()
			join := goJoin(soon(t), leader, joiner)
			<-join.done
			if !errors.Is(join.err, kv.ErrTooOld) || !strings.Contains(join.err.Error(), "--max-command-version") {
				t.Errorf("%s: got %+v, %v, want an ErrTooOld that names the flag", what, join.member, join.err)
			}
			if cluster := joiner.identity().Cluster; cluster != "" {
				t.Errorf("%s: the joiner belongs to cluster %s", what, cluster)
			}
			if got := membersOf(leader, false); got != "[n1 n2 n3]" {
				t.Errorf("%s: members: %s", what, got)
			}
		}
		refused("all logs have the newer command")
		for _, n := range []*Node{leader, one} {
			if _, err := n.Snapshot(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		refused("one voter's log has it")
		if _, err := other.Snapshot(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		join := goJoin(soon(t), leader, joiner)
		<-join.done
		if join.err != nil || !join.member.Voter {
			t.Errorf("no log has it: got %+v, %v", join.member, join.err)
		}
	})
}

// TestJoin_CountsFromBeforeItsEntry has an older node join while newer requests are sent:
// none gets into the log behind the entry that makes it a member, though that one is still
// being written. The node would stop there.
func TestJoin_CountsFromBeforeItsEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, 1, nil)
		n := b.nodes[0]
		if _, err := n.Snapshot(t.Context(), ""); err != nil { // the checkpoint is in the log no more
			t.Fatal(err)
		}
		joiner := b.openJoiner(t, "n2", func(cfg *Config) { cfg.NonVoter, cfg.Seams.CommandVersion = true, 1 })
		release := b.disks[n].hang()
		join := goJoin(soon(t), n, joiner)
		time.Sleep(time.Second)
		if got := joiner.identity().Cluster; got == "" {
			t.Fatal("the join has not come to its entry")
		}
		newer := make(chan error, 1)
		go func() {
			_, err := n.Do(soon(t), two("a", "b"))
			newer <- err
		}()
		synctest.Wait()
		release()
		if err := <-newer; !errors.Is(err, kv.ErrUnsupported) || !strings.Contains(err.Error(), "n2 announces 1") {
			t.Errorf("a newer request: got %v, want an ErrUnsupported that names n2", err)
		}
		<-join.done
		if join.err != nil {
			t.Errorf("join: %v", join.err)
		}
		mustPut(t, n, "k", "v")
		eventually(t, "the joiner is ready", joiner.Ready)
		select {
		case <-joiner.Fatal():
			t.Errorf("the joiner has stopped: %v", joiner.Err())
		default:
		}
	})
}
