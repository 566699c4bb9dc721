// Package recovery reads and repairs the data directory of a node that does not run.
//
// The words term, index, log, entry, vote, snapshot and majority have the meaning that they
// have in the Raft paper (figure 2, and sections 5 to 7). A voter is a member whose vote
// counts. A node's identity is its name and a random incarnation (package
// internal/nodeid); its log, term and vote, and snapshots are its stores (package
// cluster/raftstore).
//
// There are three tasks:
//
//   - Check verifies every checksum and changes nothing.
//   - Survey and Recover are for a cluster that has lost a majority of its voters for good.
//   - ReadNote, WriteNote, ForgetNote and ActOnNote are for one node whose data can't be
//     trusted any more, while the rest of its cluster is well.
//
// # Recover
//
// A cluster without a majority elects no leader, and nothing makes the lost voters come
// back. An operator takes the directories that are left and surveys each:
//
//	the directories left ── Survey ──► SameHistory? ──► MayLose? ──► the greatest by Compare ── Recover
//
// Each step has a reason:
//
//  1. SameHistory must hold. Directories of two clusters have nothing in common.
//  2. An acknowledged write was durable on a majority of the voters. If fewer voters are
//     missing than a majority has, one of the directories has the write: of 3 voters 2 must be
//     left, of 4 voters 2, of 5 voters 3. MayLose says that fewer are left. The newest
//     configuration may be an entry that was never committed, so that others elected a
//     leader under the one before: enough voters of both must be left. A voter whose log
//     has lost its end does not count, because it may have acknowledged what it has lost.
//  3. The greatest survivor by Compare has every acknowledged write that any of them has.
//     That is the rule by which raft elects: a log with a later last term, or with the same
//     one and more entries, is at least as complete (section 5.4.1). Entries behind the
//     commit index may never have been acknowledged. They become part of the state, as
//     they could have under the next leader.
//  4. Recover makes this one node the only voter of a new cluster. No other directory may be
//     used again: its node could elect a leader of the old cluster.
//
// The new cluster has another id. A node of the old one is refused by that id, and a node that
// joins starts with an empty directory.
//
// # What Recover changes
//
// Recover first reads all that it needs, and applies it to a state machine in memory, so
// that damage ends it before the first change. It then changes the directory in this order:
//
//	change                                              a crash behind it leaves
//	1 node.json has the new cluster's id                a node that refuses to start; see below
//	2 bootstrap.json and diverged.json are removed      the same
//	3 one snapshot has the whole state; one voter       the same
//	4 an empty log is put in place of the old one,      the new cluster
//	  which is kept as wal-of-CLUSTER
//
// A node whose identity and log are of different clusters refuses to start, so no half of a
// recovery can be used. Another Recover finishes it, under one more id. MayLose does not count
// the node until then: after change 3 nobody can tell which voters there were, and the answer
// before the interruption holds. The exception is a note that asks for the files to be set
// aside: a start between changes 1 and 2 does that. Then nothing is lost either, but the files
// must be given their names again before another Recover. Term and vote stay as they are: the new cluster continues the old one's terms.
//
// # The note
//
// A node that finds that its state is not the majority's, or that is told that its log has
// lost its end, writes a note into diverged.json and stops. ActOnNote is the first act of its
// next start, before anything else of the directory is read:
//
//	note                          next start
//	none                          as usual
//	diverged, once                as usual: snapshot and log make the state again
//	diverged, twice in a row      the files of this incarnation are set aside
//	the log has lost its end      the same
//
// Files that are set aside get the prefix diverged-INCARNATION-. The directory then is a new
// node's, which gets the state from the others under a new incarnation. Its old one voted and
// acknowledged, and may not do so again with less than it had. The note is the last file to be
// renamed, so that a start that is interrupted continues. A directory with files of an earlier
// incarnation set aside is refused with ErrDivergedAgain: the machine's memory or disk is the
// likely cause.
//
// ForgetNote removes the note, once a majority has the state that was made again.
//
// # Access
//
// Check, Survey and Recover hold the directory's LOCK while they run, so that they never meet
// a running node; the error is dirlock.ErrInUse. The functions of the note are for the node
// that holds the LOCK itself. The lock is the operating system's, also where files is a
// filesystem of a test. No function starts a goroutine that outlives it.
package recovery
