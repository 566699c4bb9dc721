// Package recovery reads and repairs the data directory of a node that does not run.
//
// The words term, index, log, entry, vote, configuration, snapshot and majority have the
// meaning that they have in the Raft paper (figure 2, and sections 5 to 7). In this package:
//
//   - A voter is a member whose vote counts. (There are also members without a vote.)
//   - The identity of a node is its name, the id of its cluster, and its incarnation: a
//     random number that is made together with the data directory (package internal/nodeid).
//   - The stores of a node are its log, its term and vote, and its snapshots (package
//     cluster/raftstore).
//   - A write is acknowledged when its client has been told that it is done.
//
// There are three tasks:
//
//   - Check verifies every checksum and changes nothing.
//   - Survey and Recover are for a cluster that has lost a majority of its voters for good.
//   - ReadNote, WriteNote, ForgetNote and ActOnNote are for one node whose data can't be
//     trusted any more, while the rest of its cluster works.
//
// # Recover
//
// A cluster without a majority elects no leader, and nothing brings the lost voters back.
// An operator collects the directories that are left, and then takes these steps:
//
//	each directory ── Survey ──► survivors ── SameHistory, MayLose ──► the greatest by Compare ── Recover
//
// Each step has a reason:
//
//  1. SameHistory must be true: directories of different clusters have nothing in common.
//  2. MayLose tells whether acknowledged writes may be lost. An acknowledged write was
//     durable on a majority of the voters. If fewer voters than a majority are missing, one
//     of the directories has the write: of 3 voters 2 must be left, of 4 voters 2, of 5
//     voters 3. MayLose is true if fewer are left. There are two complications. The newest
//     configuration may be an entry that was never committed, and other nodes may have
//     elected a leader under the previous one: so enough voters of both configurations must
//     be left. A voter whose log has lost its end is not counted, because it may have
//     acknowledged the lost entries.
//  3. The greatest survivor by Compare has every acknowledged write that any of them has.
//     Compare is the rule of Raft's elections: a log with a later last term, or with the same
//     one and more entries, is at least as complete (section 5.4.1). The entries of this
//     survivor behind the commit index may never have been acknowledged. They become part of
//     the state, as they could have under the next leader.
//  4. Recover makes this one node the only voter of a new cluster. No other directory may be
//     used again, since its node could elect a leader of the old cluster.
//
// The new cluster has another id. Its node refuses nodes of the old one because of this id,
// and every node that joins it starts with an empty directory.
//
// # What Recover changes
//
// Recover first reads all that it needs, and applies it to a state machine in memory. If
// anything is damaged, it ends here and has changed nothing. Then it changes the directory in
// this order:
//
//	change                                              a crash after it leaves
//	1 node.json gets the new cluster's id               a node that refuses to start
//	2 bootstrap.json and diverged.json are removed      the same
//	3 one snapshot gets the whole state, with one voter the same
//	4 an empty log replaces the old one, which is       the new cluster
//	  renamed to wal-of-CLUSTER
//
// A node refuses to start if its identity and its log are of different clusters. So an
// unfinished recovery can't be used. Another Recover finishes it, under yet another cluster
// id. Until then MayLose does not count the node, because after change 3 its previous voters
// are no longer known; the operator relies on the answer from before the interruption.
//
// There is one exception. diverged.json may ask for the files to be set aside (see The note).
// If the node is started between changes 1 and 2, it does so. Nothing is lost, but the
// files must be given their old names before another Recover.
//
// Term and vote are not changed: the new cluster continues the terms of the old one.
//
// # The note
//
// A node stops if it finds that its state differs from the majority's, or if it learns that
// its log has lost its end. Before it stops it writes a note into diverged.json. The first
// act of its next start is ActOnNote, before anything else of the directory is read:
//
//	note                          next start
//	none                          as usual
//	diverged, once                as usual: the state is rebuilt from snapshot and log
//	diverged, twice in a row      the files of this incarnation are set aside
//	the log has lost its end      the same
//
// Files that are set aside get the prefix diverged-INCARNATION-. Then the directory is that of
// a new node, which gets its state from the others under a new incarnation. The old
// incarnation has voted and acknowledged entries, and must not do so again with less data.
// The note is renamed last, so that an interrupted start is continued by the next one. If
// files of an earlier incarnation have been set aside already, the directory is refused with
// ErrDivergedAgain: the likely cause is the machine's memory or disk.
//
// ForgetNote removes the note once a majority agrees with the rebuilt state.
//
// # Access
//
// Check, Survey and Recover hold the directory's LOCK while they run, so a running node is
// never read or changed: the error is then dirlock.ErrInUse. The functions of the note are
// called by the node, which holds the LOCK itself. The lock is the operating system's, also if
// files is a test's filesystem. No function starts a goroutine that outlives it.
package recovery
