package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/kvorum/kvorum/internal/loglimit"
)

// Version is the peer protocol's version; a peer of another one is refused.
const Version = 5

// repeatEvery is the shortest interval between two log lines about the same peer or stranger.
const repeatEvery = 10 * time.Second

// Defaults of Config.
const (
	defaultDialTimeout   = 2 * time.Second
	defaultRaftTimeout   = 5 * time.Second
	defaultMaxFrameBytes = 160 << 20
)

// MinPipelineWindow and MaxPipelineWindow bound Config.PipelineWindow where it is
// not 0.
const (
	MinPipelineWindow = 2
	MaxPipelineWindow = 8
)

// Identity is how a node introduces itself when a connection opens.
type Identity struct {
	// ID is the node's raft ServerID: name + "." + incarnation; at most 256 bytes.
	ID raft.ServerID
	// Cluster is the cluster id, empty while the node is in none; at most 256 bytes.
	Cluster string
	// PeerAddr and HTTPAddr are the advertised host:port addresses; at most 512 bytes each.
	PeerAddr, HTTPAddr string
	// Generation orders announcements of one ID: the greater one is newer.
	Generation uint64
	// CommandVersion is the highest version of a command in the log that the node
	// announces to understand; 0 announces none. The transport carries it, and refuses nobody for it.
	CommandVersion uint8
}

// Kind says what an RPC asks for; the packages cluster and cluster/replica define the values.
type Kind byte

// Handler answers one RPC from an identified peer. It is called on a goroutine
// of its own; ctx ends with the caller's interest (its deadline travels with the
// request), the connection or the transport, and Close waits for the handler.
// payload is the handler's to keep; the answer is the transport's to keep.
// The returned error reaches the caller as a *RemoteError with its text (and
// code, where the error has a method RPCCode() string).
type Handler func(ctx context.Context, from Identity, kind Kind, payload []byte) ([]byte, error)

// Resolver finds the peer address (host:port) of a ServerID.
type Resolver interface {
	// ResolvePeer is asked at each dial and each call, so it must be quick. It is
	// called from many goroutines at once, never under a lock of the transport.
	ResolvePeer(id raft.ServerID) (addr string, ok bool)
}

// Config configures New. Listener, Identity, Resolver and Handler are required.
type Config struct {
	Listener net.Listener // owned by the transport once New succeeded
	Identity Identity
	Resolver Resolver
	Handler  Handler
	// Learn is told of every peer that completed a handshake with us; may be nil.
	// It is called from many goroutines at once and delays the connection.
	Learn func(Identity)
	// Admit may refuse a peer that is otherwise acceptable (a removed incarnation,
	// say); its error's text is sent to the peer. May be nil.
	Admit func(Identity) error
	// Known returns the process of an id that shook hands with this node last, in an
	// earlier run too. Another one is refused while that one is alive. May be nil.
	Known func(raft.ServerID) (Identity, bool)
	// Displaced is told when a peer of this node's cluster refuses it because of
	// another process with this node's id (RefusedDuplicate, RefusedSuperseded): one of
	// the two must end, and it is this one. The transport has fallen silent then, for
	// good: it has no connections any more. It must not block; nil tells nobody.
	Displaced func(*RefusedError)
	// Dial opens a connection to a host:port address; nil means TCP, the host
	// name being resolved each time.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// DialTimeout bounds a dial and its handshake; 0 means 2 s.
	DialTimeout time.Duration
	// TLS encrypts and authenticates all connections; nil leaves them open.
	TLS *TLS

	// RaftTimeout is the maximum time of a heartbeat, a vote and TimeoutNow. An append may
	// take longer on a narrow network. It fails when none of its bytes has moved for that
	// time, or when it has arrived completely and is not answered for that time, which
	// includes the peer's write to its disk. RaftTimeout does not apply to snapshots. 0 means
	// 5 s.
	RaftTimeout time.Duration
	// PipelineWindow is how many appends may be under way to one peer, 2 to 8; 0
	// means that raft waits for the answer to each.
	PipelineWindow int
	// SnapshotBytesPerSecond bounds how fast snapshots are sent, all together; 0
	// is no bound.
	SnapshotBytesPerSecond int64
	// CurrentTerm returns raft's current term, 0 while there is no raft. It is asked
	// before a heartbeat is answered in raft's place, so it must be quick; nil means
	// that none is.
	CurrentTerm func() uint64
	// StaleSnapshot reports whether raft must not install a snapshot because this
	// node has all of it already: it is then answered with success. An error
	// refuses the snapshot for now. It is called while raft has no other command;
	// nil means never.
	StaleSnapshot func(*raft.InstallSnapshotRequest) (bool, error)

	// Room is asked before raft gets an append or a snapshot, whether the disk has room
	// for it. An error refuses the command for now: raft does not see it, and its
	// sender tries again. done is called once raft has handled the command. It is called
	// while raft has no other command; nil means that there always is room.
	Room func(command any) (done func(), err error)

	// Unreached is told of each address at which a peer was not reached, so that the
	// Resolver can name another one, if it knows one; nil tells nobody.
	Unreached func(id raft.ServerID, addr string)

	// Committed returns the commit index, no higher than Durable, 0 while this node does not lead.
	// TellCommitted tells it. It must be quick; nil means that none is told.
	Committed func() uint64
	// Writing reports whether an entry is on its way into this node's log. TellCommitted
	// leaves it to the append of that entry to tell. It must be quick; nil means that it is
	// not known.
	Writing func() bool
	// Durable returns the index up to which this node's log is durable. Raft may take entries
	// behind it for committed: appends never say so. It must be quick; nil means that
	// all entries that raft knows of are durable.
	Durable func() uint64
	// AwaitDurable waits until this node's log is durable up to an index. The answer to
	// an append waits for it: the log may have been written while this node led. It returns
	// early once gone is closed. An error takes the place of the answer. Nil is as for Durable.
	AwaitDurable func(index uint64, gone <-chan struct{}) error
	// AllCommitted returns a commit index that covers every entry which a leader, this node
	// or a previous one, has acknowledged, and 0 while it is not known to: before the first
	// entry of this leader's term is committed. Appends and heartbeats have it with them,
	// for the peer's Heard. It must be quick. Nil means that heartbeats have none, and
	// appends what they tell raft.
	AllCommitted func() uint64
	// Heard is told, of each append and heartbeat that raft has accepted from its leader,
	// the leader's AllCommitted when it was sent, beyond the append's own entries too. It is
	// not told where that is 0. It delays the answer; nil tells nobody.
	Heard func(commit uint64, arrived time.Time)

	// LostTail is told of each answer to an append which shows that the peer's log
	// has become shorter than what the peer had acknowledged in this term. Raft does
	// not see such an answer, and sends nothing more to the peer until LostTail has
	// returned; it must return when ctx ends. Nil lets raft send the entries again.
	LostTail func(ctx context.Context, lost *LostTailError)

	// MaxFrameBytes bounds one RPC's request or response; 0 means 160 MiB. It must
	// be the same on all nodes: a greater request breaks the peer's connection.
	MaxFrameBytes int
	// MaxConns bounds the connections that are open, accepted and dialed ones
	// together; 0 means 1024. A quarter of them may be in a handshake, at most 256.
	MaxConns int
	// Logger gets what the transport has to say; nil discards it.
	Logger *slog.Logger
}

// withDefaults returns a copy of c with its zero fields filled in, or an error
// if c cannot work.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Listener == nil:
		return c, errors.New("transport needs a listener")
	case c.Resolver == nil:
		return c, errors.New("transport needs a resolver")
	case c.Handler == nil:
		return c, errors.New("transport needs a handler")
	case c.DialTimeout < 0 || c.RaftTimeout < 0 || c.MaxFrameBytes < 0 || c.MaxConns < 0 || c.SnapshotBytesPerSecond < 0:
		return c, errors.New("transport timeouts and limits must not be negative")
	case c.PipelineWindow != 0 && (c.PipelineWindow < MinPipelineWindow || c.PipelineWindow > MaxPipelineWindow):
		return c, fmt.Errorf("transport pipeline window of %d is neither 0 nor %d to %d", c.PipelineWindow, MinPipelineWindow, MaxPipelineWindow)
	case c.MaxFrameBytes > frameBytesCeiling:
		return c, fmt.Errorf("transport frame limit of %d bytes exceeds %d", c.MaxFrameBytes, frameBytesCeiling)
	}
	if err := c.TLS.validate(); err != nil {
		return c, err
	}
	if err := c.Identity.validate(); err != nil {
		return c, fmt.Errorf("transport identity: %w", err)
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultDialTimeout
	}
	if c.RaftTimeout == 0 {
		c.RaftTimeout = defaultRaftTimeout
	}
	if c.MaxFrameBytes == 0 {
		c.MaxFrameBytes = defaultMaxFrameBytes
	}
	if c.Dial == nil {
		c.Dial = dialTCP
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Transport is one node's end of all conversations with its peers. All methods
// are safe for concurrent use.
type Transport struct {
	cfg    Config
	limits limits
	root   context.Context // ends with Close; parent of every handler's context
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine the transport starts
	raft   *raftTransport
	counts counters
	lines  *loglimit.Lines // what strangers and unreachable peers can repeat

	// mu guards the fields below. It is not held across I/O or callbacks.
	mu       sync.Mutex
	closed   bool
	retired  bool // gave way to another process with its id: no more connections
	identity Identity
	conns    map[*conn]struct{}
	peers    map[raft.ServerID]*peer
}

// New starts to accept peers on cfg.Listener. The caller must Close the
// transport; after an error the listener is still the caller's.
func New(cfg Config) (*Transport, error) {
	return newWithLimits(cfg, defaultLimits().within(cfg.MaxConns))
}

func newWithLimits(cfg Config, l limits) (*Transport, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	root, cancel := context.WithCancel(context.Background())
	t := &Transport{
		cfg:      cfg,
		limits:   l,
		lines:    loglimit.NewLines(cfg.Logger, &loglimit.Limiter{Every: repeatEvery}),
		root:     root,
		cancel:   cancel,
		identity: cfg.Identity,
		conns:    make(map[*conn]struct{}),
		peers:    make(map[raft.ServerID]*peer),
	}
	t.raft = newRaftTransport(t)
	t.wg.Go(t.acceptLoop)
	return t, nil
}

// Identity returns what the transport tells peers of this node.
func (t *Transport) Identity() Identity {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.identity
}

// SetCluster sets the cluster id that later handshakes tell, when the node
// learned it after its start. Connections opened under another id take no
// further calls, on either side, and close when the calls in progress on them
// were answered: a handler may well call SetCluster. Snapshot streams opened
// under another id are closed. The id must have at most 256 bytes.
func (t *Transport) SetCluster(id string) {
	t.mu.Lock()
	t.identity.Cluster = id
	var outdated []*conn
	for c := range t.conns {
		if c.local.Cluster != id && c.opened {
			outdated = append(outdated, c)
		}
	}
	t.mu.Unlock()
	for _, c := range outdated {
		c.retire()
	}
}

// Close stops accepting, breaks every connection, ends the handlers' contexts
// and waits for all goroutines, handlers included, so a handler must not call
// it. Calls in progress and later ones fail. Closing again does nothing.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	var err error
	if first {
		t.cancel()
		if err = t.cfg.Listener.Close(); err != nil {
			err = fmt.Errorf("close peer listener: %w", err)
		}
		t.closeConns()
	}
	t.raft.Close()
	t.wg.Wait()
	return err
}

func (t *Transport) closeConns() {
	t.mu.Lock()
	open := maps.Clone(t.conns)
	t.mu.Unlock()
	for c := range open {
		c.Close()
	}
}
