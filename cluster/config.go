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
	"github.com/kvorum/kvorum/cluster/replica"
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
	// DefaultSnapshotBytes is the least log between two snapshots unless configured otherwise: 64 MiB.
	DefaultSnapshotBytes = replica.DefaultSnapshotBytes
	// DefaultCheckpointInterval is how often a leader that wrote something has all
	// replicas note the hash of their state unless configured otherwise: 10 s.
	DefaultCheckpointInterval = replica.DefaultCheckpointInterval
	// MinSnapshotBytesPerSecond is the least Config.SnapshotBytesPerSecond but 0: 64 KiB.
	MinSnapshotBytesPerSecond = 64 << 10
	// MinDeadServerAfter is the least Config.DeadServerAfter but 0.
	MinDeadServerAfter = time.Minute
	// maxBootstrapExpect is the maximum of Config.BootstrapExpect.
	maxBootstrapExpect = 15
)

// Timing holds the clocks of the consensus protocol.
type Timing = replica.Timing

// DefaultTiming suits a local network: a killed leader is replaced in about half a
// second.
func DefaultTiming() Timing { return replica.DefaultTiming() }

// WideAreaTiming suits nodes with up to some 100 ms between them, or machines that
// stall now and then. A killed leader is replaced in one to two seconds.
func WideAreaTiming() Timing { return replica.WideAreaTiming() }

// Loading tells how far one call of Open has come. The zero value is ready to be
// put in a Config. All methods are safe for concurrent use.
type Loading = replica.Loading

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
	// TLS encrypts and authenticates the traffic between peers; nil leaves the
	// peer port open to everybody that reaches it.
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

	// MaxKeyBytes is the maximum size of a key, and MaxValueBytes that of the values of a
	// write together, where the cluster has no setting. MaxValueBytes is also that of the
	// values for which there is memory: a greater setting is refused.
	MaxKeyBytes, MaxValueBytes int
	// MaxPendingBytes is the maximum number of bytes of writes that wait or are in flight at this
	// node; 0 means Memory's share, or 256 MiB.
	MaxPendingBytes int64
	// Descriptors divides the file descriptors that the process may have open. The
	// zero value leaves each part its default.
	Descriptors DescriptorPlan
	// Memory divides the memory that the process may take. The zero value leaves each
	// part its default, and refuses nothing.
	Memory MemoryPlan
	// MaxDataBytes is the maximum number of bytes of keys and values together: puts beyond it
	// are refused while this node leads. 0 is no maximum.
	MaxDataBytes int64
	// SnapshotBytes is the minimum of bytes of log between two snapshots; they are as many as the
	// newest snapshot has if that is more.
	SnapshotBytes int64
	// BallastBytes is the size of a file that is kept on the disk while there is
	// room, to be removed when the disk is full; 0 is none.
	BallastBytes int64
	// SnapshotBytesPerSecond is the maximum rate at which this node, as the leader, sends snapshots
	// to members that are far behind, all together; 0 is no maximum.
	SnapshotBytesPerSecond int64
	// PipelineWindow is the maximum number of messages with log entries in flight to one
	// follower, 2 to 8; 0 means that each waits for the answer to the previous one. It
	// helps if a round trip takes longer than a disk's sync.
	PipelineWindow int
	// MaxCommandVersion is the highest version of a command that this node announces to
	// understand, and so of those that the leader writes to the log; 0 is this build's. The node
	// still reads all commands that its build understands. See docs/upgrade.md.
	MaxCommandVersion int
	// CheckpointInterval is how often the replicas of a cluster that is written to
	// compare their states.
	CheckpointInterval time.Duration
	// Timing holds the clocks of the consensus protocol.
	Timing Timing
	// Logger receives what operators should know; nil discards it.
	Logger *slog.Logger
	// Loading knows the progress of Open until it returns; nil if nobody asks.
	Loading *Loading
	// Seams replace the machine below the node, for tests; programs leave it zero.
	Seams Seams
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
		c.MaxPendingBytes = cmp.Or(c.Memory.Proposals, replica.DefaultPendingBytes)
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = DefaultSnapshotBytes
	}
	if c.CheckpointInterval == 0 {
		c.CheckpointInterval = DefaultCheckpointInterval
	}
	c.Timing = c.Timing.WithDefaults()
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

// ValidateLimits is the part of Validate about numbers, durations and combinations, without
// names, addresses and files: a program may call it
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
	if err := c.Timing.Validate(); err != nil {
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
	if c.DeadServerAfter != 0 && c.DeadServerAfter < c.Seams.MinDeadServerAfter {
		bad("dead-server-after", "%v is less than %v, and not 0", c.DeadServerAfter, c.Seams.MinDeadServerAfter)
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

// validateAddress returns an error unless addr is a host:port that another node could dial.
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
