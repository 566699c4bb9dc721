package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Lab is the machines of one cluster under test, and the network between them. Close
// removes all that it made, and nothing else, also if a method failed or the program was
// interrupted. Its methods are safe for concurrent use.
type Lab interface {
	// Kind returns the kind of the Lab: "namespaces", "proxy" or "docker".
	Kind() string
	// Hosts returns all machines, in the order of their names. The first Initial() of them
	// form the cluster. The others do not run, and can be added.
	Hosts() []Host
	Initial() int
	// Cut drops all packets from one host to another, until Heal. Clients still reach both.
	// If CutsOneWay is false, it drops those in the other direction, too.
	Cut(ctx context.Context, from, to Host) error
	CutsOneWay() bool
	// Shape slows or drops packets from one host to another, until Heal.
	Shape(ctx context.Context, from, to Host, how Shape) error
	// Heal ends all effects of Cut and Shape.
	Heal(ctx context.Context) error
	// Exits delivers the end of each process, by the Lab or by itself. If the channel's
	// buffer is full, the Lab drops an end, and Close returns an error for that.
	Exits() <-chan Exit
	// Close ends all processes and removes all that the Lab made. Its error names things
	// that are left.
	Close() error
}

// Shape is the effect of a network on the bytes of one direction. The zero Shape has none.
type Shape struct {
	Loss           float64       // lost part of the segments, 0 to 1; TCP sends them again
	Delay, Jitter  time.Duration // each piece arrives Delay later, plus or minus up to Jitter
	Reorder        float64       // part of the segments that overtake others, 0 to 1
	BytesPerSecond int           // 0 means no limit
}

// Host is one machine and the place of one process on it. Its data outlives the process.
// A method that this kind of Lab can't carry out returns an error for which
// errors.Is(err, ErrNotCovered) holds, and has changed nothing.
type Host interface {
	Name() string
	// URL is the URL of the process's HTTP API for clients, "http://ADDRESS:PORT". It stays
	// the same for the Host's life.
	URL() string

	// Start runs the process, unless it runs. It does not wait until it serves.
	Start(ctx context.Context) error
	// Kill ends it with SIGKILL, Stop with SIGTERM, after which it may need some time. Both
	// wait for its end, and do nothing if it does not run.
	Kill(ctx context.Context) error
	Stop(ctx context.Context) error
	// Pause stops the process (SIGSTOP), and Resume continues it.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	Running() bool
	// Wipe removes the data of the host, whose process must not run.
	Wipe(ctx context.Context) error
	// Readdress gives the host, whose process must not run, another address among its
	// peers. Clients reach it by the same URL.
	Readdress(ctx context.Context) error
	// LosePower ends the process, and its disk keeps only synced data.
	LosePower(ctx context.Context) error

	// FillDisk fills the host's disk except left bytes; EmptyDisk gives that room back.
	FillDisk(ctx context.Context, left int64) error
	EmptyDisk(ctx context.Context) error
	// FailSyscalls makes system calls of the process fail as how describes, until
	// MendSyscalls: the kernel does not execute them, or executes them late.
	FailSyscalls(ctx context.Context, how SyscallFault) error
	MendSyscalls(ctx context.Context) error
	// LimitMemory limits the memory of the process; the kernel kills it if it takes more. 0
	// means no limit. LimitFiles limits its descriptors; 0 means the limit at its start.
	LimitMemory(ctx context.Context, bytes int64) error
	LimitFiles(ctx context.Context, files uint64) error
	// SkewClock makes the process, and later ones, see a wall clock that is ahead of this
	// machine's; a negative time is behind. A running process sees its clock jump.
	SkewClock(ctx context.Context, ahead time.Duration) error

	// Resources returns the present resources of the process.
	Resources() (Resources, error)
	// Log returns the newest bytes, up to n, of the logs of the host's processes.
	Log(n int) string
}

// Unplugger is a Host whose process can lose its network while it runs.
type Unplugger interface {
	Host
	// Unplug removes the host's network: neither peers nor clients reach it.
	Unplug(ctx context.Context) error
	// Plug gives it back, with another address among the host's peers.
	Plug(ctx context.Context) error
}

// SyscallFault makes system calls fail or take long.
type SyscallFault struct {
	Calls string        // as strace names them, such as "fdatasync,fsync"
	Errno string        // such as "EIO"; "" if the calls go through
	Skip  bool          // the kernel does not execute the calls, which seem to succeed
	Delay time.Duration // additional time of each call
	From  int           // the first call of a thread that fails, counted from 1; 0 is 1
}

// Resources are the resources that a process uses.
type Resources struct {
	Resident    int64 `json:"resident"` // bytes
	Descriptors int   `json:"descriptors"`
}

// Exit is the end of a process.
type Exit struct {
	Host   Host
	At     time.Time
	Code   int    // its exit code; -1 if a signal ended it
	Signal string // such as "killed"; "" if none did
	// Asked is true if Kill, Stop, LosePower or Close ended it.
	Asked bool
	Log   string // the newest lines that it logged
}

// ErrNotCovered is returned for a fault that can't be made here. The error that wraps it
// has the reason and the requirement. A fault that was not made counts as not covered,
// never as survived.
var ErrNotCovered = errors.New("not covered here")

// notCovered returns an ErrNotCovered with its reason.
func notCovered(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotCovered, fmt.Sprintf(format, args...))
}

// ErrBusy is returned if another run has a Lab on this machine. The error names the
// process.
var ErrBusy = errors.New("another run is under way on this machine")
