package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/kvorum/kvorum/cluster/discovery"
	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/transport"
	"github.com/kvorum/kvorum/wal"
)

// Limits and defaults of a Config.
const (
	// DefaultMaxKeyBytes is the longest key a write may have unless configured otherwise: 1 KiB.
	DefaultMaxKeyBytes = 1 << 10
	// DefaultMaxValueBytes is the largest value a write may have unless configured otherwise: 1 MiB.
	DefaultMaxValueBytes = 1 << 20
	// LimitMaxKeyBytes is the greatest MaxKeyBytes that may be configured: 4 KiB.
	LimitMaxKeyBytes = kv.LimitMaxKeyBytes
	// LimitMaxValueBytes is the greatest MaxValueBytes that may be configured: 64 MiB.
	LimitMaxValueBytes = kv.LimitMaxValueBytes
	// DefaultSnapshotBytes is how much log is written between two snapshots unless configured otherwise: 64 MiB.
	DefaultSnapshotBytes = 64 << 20
	// MinSnapshotBytesPerSecond is the least Config.SnapshotBytesPerSecond but 0: 64 KiB.
	MinSnapshotBytesPerSecond = 64 << 10
	// MinDeadServerAfter is the least Config.DeadServerAfter but 0.
	MinDeadServerAfter = time.Minute
	// defaultStall and defaultStallFatal are those of Timing.
	defaultStall      = 10 * time.Second
	defaultStallFatal = time.Minute
	// maxBootstrapExpect bounds Config.BootstrapExpect.
	maxBootstrapExpect = 15
)

// Timing holds the clocks of the consensus protocol.
type Timing struct {
	// Heartbeat is how long a follower waits for its leader before it asks for a pre-vote.
	Heartbeat time.Duration
	// Election is how long a candidate waits for votes; at least Heartbeat.
	Election time.Duration
	// Lease is how long a leader continues to lead without an answer from a majority; at most Heartbeat.
	Lease time.Duration
	// Commit is how often raft's leader sends a follower an append when it has nothing to
	// append, once to twice as long. Followers learn sooner what is committed; see
	// tellCommitted. It is the time after which raft repeats an append that has failed, if
	// nothing new is to be appended, and after which a follower whose message was lost
	// learns what is committed.
	Commit time.Duration
	// Stall is the time after which a write to the log that does not return makes the
	// node silent, so that another one is elected; 0 means 10 s. StallFatal is the time
	// after which it makes the node stop; 0 means 60 s.
	Stall, StallFatal time.Duration
}

// DefaultTiming suits a local network: a killed leader is replaced in about half a
// second. Both survivors of three nodes must have timed out before a pre-vote wins. That
// takes the heartbeat timeout and a quarter of it; where only the one that timed out
// first has all entries, an election timeout more.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat: 350 * time.Millisecond,
		Election:  350 * time.Millisecond,
		Lease:     250 * time.Millisecond,
		Commit:    150 * time.Millisecond,
	}
}

// WideAreaTiming suits nodes that are up to some 100 ms apart, or machines that
// stall now and then. A killed leader is replaced in one to two seconds.
func WideAreaTiming() Timing {
	return Timing{
		Heartbeat: time.Second,
		Election:  time.Second,
		Lease:     750 * time.Millisecond,
		Commit:    400 * time.Millisecond,
	}
}

// validate returns what is wrong with t: a field out of range, or a lease that
// outlives what followers wait for.
func (t Timing) validate() error {
	const least = 5 * time.Millisecond // raft's own
	switch {
	case t.Heartbeat < least || t.Election < t.Heartbeat || t.Commit < time.Millisecond:
		return &kv.ValidationError{Field: "timing", Reason: fmt.Sprintf("heartbeat %v, election %v, commit %v: each has a least value, and elections take no less than heartbeats", t.Heartbeat, t.Election, t.Commit)}
	case t.Lease < least || t.Lease > t.Heartbeat:
		return &kv.ValidationError{Field: "timing", Reason: fmt.Sprintf("lease %v is not between %v and the heartbeat timeout %v", t.Lease, least, t.Heartbeat)}
	case t.Stall < 0 || t.StallFatal < t.Stall:
		return &kv.ValidationError{Field: "timing", Reason: fmt.Sprintf("stall %v must not be negative, nor stall-fatal %v less", t.Stall, t.StallFatal)}
	}
	return nil
}

// Config configures Open. Name, DataDir, PeerListener, AdvertisePeer,
// AdvertiseHTTP and GossipAddr are required; the zero value of any other field
// means its default.
type Config struct {
	// Name is the node's name, unique in its cluster: 1 to 64 bytes of letters, digits, '-' and '_'.
	Name string
	// DataDir is the directory that holds everything durable; made if missing, locked while open.
	DataDir string
	// FS is the filesystem below DataDir; nil is the operating system's.
	FS wal.FS

	// PeerListener accepts peers' connections; Open owns it, and closes it also when it fails.
	PeerListener net.Listener
	// AdvertisePeer and AdvertiseHTTP are the host:port addresses that others reach this node at.
	// Host names are kept, and resolved at each dial.
	AdvertisePeer, AdvertiseHTTP string
	// GossipAddr is the host:port that gossip binds, over UDP and TCP.
	GossipAddr string
	// AdvertiseGossip is the host:port that others reach gossip at; empty means GossipAddr.
	AdvertiseGossip string

	// BootstrapExpect is how many nodes form a new cluster together; 0 means this node waits to be added to one.
	BootstrapExpect int
	// TLS encrypts and authenticates what peers say to each other; nil leaves the
	// peer port open to everybody who reaches it.
	TLS *transport.TLS
	// GossipKey, of 16, 24 or 32 bytes, encrypts gossip; nil leaves it open.
	GossipKey []byte
	// NonVoter makes this node a read replica, which never votes: it has all data,
	// serves every request, and counts for no majority.
	NonVoter bool
	// DeadServerAfter is the time without an answer after which this node, as the
	// leader, removes a member, if three voters are left and all others are reached;
	// 0 means never.
	DeadServerAfter time.Duration
	// Join lists gossip addresses of other nodes; any one that answers is enough.
	Join []string

	// MaxKeyBytes and MaxValueBytes bound what a write may carry.
	MaxKeyBytes, MaxValueBytes int
	// MaxPendingBytes bounds the bytes of writes that wait or are under way at this node; 0 means
	// what Memory says, or 256 MiB.
	MaxPendingBytes int64
	// Descriptors divides the file descriptors that the process may have open. The
	// zero value leaves each part its default.
	Descriptors DescriptorPlan
	// Memory divides the memory that the process may take. The zero value leaves each
	// part its default, and refuses nothing.
	Memory MemoryPlan
	// MaxDataBytes bounds keys and values together: puts beyond it are refused where this
	// node leads. 0 is no bound.
	MaxDataBytes int64
	// SnapshotBytes is how many bytes of log are written between two snapshots.
	SnapshotBytes int64
	// BallastBytes is the size of a file that is kept on the disk while there is
	// room, to be removed when the disk is full; 0 is none.
	BallastBytes int64
	// SnapshotBytesPerSecond bounds how fast this node, as the leader, sends snapshots
	// to those that are far behind, all together; 0 is no bound.
	SnapshotBytesPerSecond int64
	// PipelineWindow is how many messages with log entries may be on their way to one
	// follower, 2 to 8; 0 means that each waits for the answer to the one before. It
	// helps where a round trip takes longer than a disk's sync.
	PipelineWindow int
	// MaxCommandVersion bounds which commands this node announces to understand, and so
	// which ones the leader writes to the log; 0 is all of this build's. The node still
	// reads whatever its build understands. See docs/upgrade.md.
	MaxCommandVersion int
	// CheckpointInterval is how often the replicas of a cluster that is written to
	// compare their states.
	CheckpointInterval time.Duration
	// Timing holds the clocks of the consensus protocol.
	Timing Timing
	// Logger receives what operators should know; nil discards it.
	Logger *slog.Logger
	// Loading tells others how far Open has come while it has not returned yet; nil
	// where nobody asks.
	Loading *Loading
	// Seams replace the machine below the node, for tests; programs leave it zero.
	Seams Seams

	// stuckTransferLimit is defaultStuckTransferLimit, or less in a test.
	stuckTransferLimit time.Duration
	// minDeadServerAfter is MinDeadServerAfter, or less in a test.
	minDeadServerAfter time.Duration
	// untold has this node not tell a follower that its log has lost its end. It is for tests.
	untold bool
	// patient has this node leave it to raft when it looks for its leader. It is for tests.
	patient bool
	// unhurried has this node, as the leader, leave it to raft to tell followers what is
	// committed. It is for tests.
	unhurried bool
}

// withDefaults returns c with every zero field that has a default set to it.
func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = wal.OS()
	}
	if c.AdvertiseGossip == "" {
		c.AdvertiseGossip = c.GossipAddr
	}
	if c.MaxKeyBytes == 0 {
		c.MaxKeyBytes = DefaultMaxKeyBytes
	}
	if c.MaxValueBytes == 0 {
		c.MaxValueBytes = DefaultMaxValueBytes
	}
	if c.MaxPendingBytes == 0 {
		c.MaxPendingBytes = cmp.Or(c.Memory.Proposals, 256<<20)
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = DefaultSnapshotBytes
	}
	if c.CheckpointInterval == 0 {
		c.CheckpointInterval = DefaultCheckpointInterval
	}
	if c.Timing == (Timing{}) {
		c.Timing = DefaultTiming()
	}
	c.Timing.Stall = cmp.Or(c.Timing.Stall, defaultStall)
	c.Timing.StallFatal = cmp.Or(c.Timing.StallFatal, defaultStallFatal)
	c.minDeadServerAfter = cmp.Or(c.minDeadServerAfter, MinDeadServerAfter)
	c.stuckTransferLimit = cmp.Or(c.stuckTransferLimit, defaultStuckTransferLimit)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Loading == nil {
		c.Loading = new(Loading)
	}
	c.Seams = c.Seams.withDefaults()
	return c
}

// Validate reports everything that is wrong with c, each as a *ValidationError
// whose Field is the name of the command line's flag.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &kv.ValidationError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if err := validateName(c.Name); err != nil {
		errs = append(errs, err)
	}
	if c.DataDir == "" {
		bad("data-dir", "is required")
	}
	if c.PeerListener == nil {
		bad("peer-addr", "is required")
	}
	if c.GossipAddr == "" {
		bad("gossip-addr", "is required")
	}
	for field, addr := range map[string]string{"advertise-peer-addr": c.AdvertisePeer, "advertise-http-addr": c.AdvertiseHTTP} {
		if err := validateAddress(field, addr); err != nil {
			errs = append(errs, err)
		}
	}
	for _, addr := range c.Join {
		if err := validateAddress("join", addr); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, c.ValidateLimits())
	return errors.Join(errs...)
}

// ValidateLimits is the part of Validate that is about numbers, durations and what
// goes together, not about names, addresses and files: a program may call it
// before it opens anything. A zero field is its default.
func (c Config) ValidateLimits() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &kv.ValidationError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if c.BootstrapExpect < 0 || c.BootstrapExpect > maxBootstrapExpect {
		bad("bootstrap-expect", "%d is not between 0 and %d", c.BootstrapExpect, maxBootstrapExpect)
	}
	if err := c.Timing.validate(); err != nil {
		errs = append(errs, err)
	}
	if n := len(c.GossipKey); n != 0 && n != 16 && n != 24 && n != 32 {
		bad("gossip-key-file", "key has %d bytes, not 16, 24 or 32", n)
	}
	if c.NonVoter && c.BootstrapExpect > 0 {
		bad("non-voter", "does not go together with bootstrap-expect: voters form a cluster")
	}
	if c.BootstrapExpect > 1 && len(c.Join) == 0 {
		bad("bootstrap-expect", "%d needs --join: without it this node never meets the other %d", c.BootstrapExpect, c.BootstrapExpect-1)
	}
	if c.MaxDataBytes < 0 {
		bad("max-data-bytes", "%d is negative", c.MaxDataBytes)
	}
	if c.DeadServerAfter != 0 && c.DeadServerAfter < c.minDeadServerAfter {
		bad("dead-server-after", "%v is less than %v, and not 0", c.DeadServerAfter, c.minDeadServerAfter)
	}
	for _, f := range []struct {
		field string
		value int64
	}{
		{"max-pending-bytes", c.MaxPendingBytes}, {"snapshot-bytes", c.SnapshotBytes}, {"checkpoint-interval", int64(c.CheckpointInterval)},
	} {
		if f.value < 0 {
			bad(f.field, "%d is negative", f.value)
		}
	}
	if c.BallastBytes < 0 {
		bad("ballast-bytes", "%d is negative", c.BallastBytes)
	}
	if c.SnapshotBytesPerSecond != 0 && c.SnapshotBytesPerSecond < MinSnapshotBytesPerSecond {
		bad("snapshot-bytes-per-second", "%d is neither 0 nor at least %d", c.SnapshotBytesPerSecond, MinSnapshotBytesPerSecond)
	}
	if c.PipelineWindow != 0 && (c.PipelineWindow < transport.MinPipelineWindow || c.PipelineWindow > transport.MaxPipelineWindow) {
		bad("pipeline-window", "%d is neither 0 nor between %d and %d", c.PipelineWindow, transport.MinPipelineWindow, transport.MaxPipelineWindow)
	}
	if highest := int(c.understands()); c.MaxCommandVersion < 0 || c.MaxCommandVersion > highest {
		bad("max-command-version", "%d is not between 0 and %d, the highest that this build understands", c.MaxCommandVersion, highest)
	}
	if c.MaxKeyBytes < 0 || c.MaxKeyBytes > LimitMaxKeyBytes {
		bad("max-key-bytes", "%d is not between 1 and %d", c.MaxKeyBytes, LimitMaxKeyBytes)
	}
	if c.MaxValueBytes < 0 || c.MaxValueBytes > LimitMaxValueBytes {
		bad("max-value-bytes", "%d is not between 1 and %d", c.MaxValueBytes, LimitMaxValueBytes)
	}
	return errors.Join(errs...)
}

// validateAddress says whether addr is a host:port that another node could dial.
func validateAddress(field, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return &kv.ValidationError{Field: field, Reason: fmt.Sprintf("%q is not host:port", addr)}
	}
	if len(addr) > discovery.MaxAddressBytes {
		return &kv.ValidationError{Field: field, Reason: "is too long", Size: int64(len(addr)), Limit: discovery.MaxAddressBytes}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return &kv.ValidationError{Field: field, Reason: fmt.Sprintf("port %q is not between 1 and 65535", port)}
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		return &kv.ValidationError{Field: field, Reason: fmt.Sprintf("%q names no host that others could reach", addr)}
	}
	return nil
}
