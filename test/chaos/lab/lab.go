package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Lab is the machines of one cluster under test, and the network between them. What it
// made, and nothing else, is gone after Close, also where a method failed or the
// program was interrupted. Its methods may be called concurrently.
type Lab interface {
	// Kind names how the machines are kept apart: "namespaces", "proxy" or "docker".
	Kind() string
	// Hosts returns all machines, in the order of their names. The first Initial() of
	// them form the cluster; the others are there to be added, and do not run.
	Hosts() []Host
	Initial() int
	// Cut drops everything that one host sends to another, until Heal. Clients still
	// reach both. In a Lab whose partitions have two sides alone, it is the other way,
	// too, and CutsOneWay says so.
	Cut(ctx context.Context, from, to Host) error
	CutsOneWay() bool
	// Shape has what one host sends to another be slower or be lost, until Heal.
	Shape(ctx context.Context, from, to Host, how Shape) error
	// Heal ends all that Cut and Shape did.
	Heal(ctx context.Context) error
	// Exits tells of each process that ended, by the Lab or by itself. The Lab drops what
	// nobody takes when the channel's buffer is full, and counts that as a failure of Close.
	Exits() <-chan Exit
	// Close ends all processes and removes all that the Lab made. It reports what is left.
	Close() error
}

// Shape is what a network does to the bytes of one direction. The zero Shape does nothing.
type Shape struct {
	Loss           float64       // part of the segments that is lost, 0 to 1; TCP sends them again
	Delay, Jitter  time.Duration // each piece comes Delay later, more or less by up to Jitter
	Reorder        float64       // part of the segments that overtakes others, 0 to 1
	BytesPerSecond int           // 0 is unlimited
}

// Host is one machine and the place of one process on it. Its data outlives the process.
// A method that this kind of Lab can't carry out returns an error for which
// errors.Is(err, ErrNotCovered) holds, and has changed nothing.
type Host interface {
	Name() string
	// URL is where clients reach the process's HTTP interface, "http://ADDRESS:PORT".
	// It stays the same for the Host's life.
	URL() string

	// Start runs the process, unless it runs. It does not wait until it serves.
	Start(ctx context.Context) error
	// Kill ends it with SIGKILL, Stop with SIGTERM, which it may take some time to
	// follow. Both wait for its end, and are nothing where it does not run.
	Kill(ctx context.Context) error
	Stop(ctx context.Context) error
	// Pause stops the process (SIGSTOP), Resume has it go on.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	Running() bool
	// Wipe takes the data of the host, whose process must not run, away.
	Wipe(ctx context.Context) error
	// Readdress gives the host, whose process must not run, another address among its
	// peers. Clients reach it by the same URL.
	Readdress(ctx context.Context) error
	// LosePower ends the process, and its disk keeps what was synced and nothing else.
	LosePower(ctx context.Context) error

	// FillDisk has others take all but left bytes of the host's disk; EmptyDisk gives
	// that room back.
	FillDisk(ctx context.Context, left int64) error
	EmptyDisk(ctx context.Context) error
	// FailSyscalls has calls of the process end as how says, until MendSyscalls: the
	// kernel is not asked, or is asked late.
	FailSyscalls(ctx context.Context, how SyscallFault) error
	MendSyscalls(ctx context.Context) error
	// LimitMemory lets the process have so many bytes; the kernel kills it where it
	// takes more. 0 is no limit. LimitFiles lets it have so many descriptors; 0 is
	// what it started with.
	LimitMemory(ctx context.Context, bytes int64) error
	LimitFiles(ctx context.Context, files uint64) error
	// SkewClock has the process, and those started later, see a wall clock that is ahead
	// by so much of this machine's; negative is behind. One that runs sees it jump.
	SkewClock(ctx context.Context, ahead time.Duration) error

	// Resources returns what the process takes now.
	Resources() (Resources, error)
	// Log returns the newest bytes, up to n, of what the host's processes have logged.
	Log(n int) string
}

// Unplugger is a Host whose process can lose its network while it runs.
type Unplugger interface {
	Host
	// Unplug takes the host's network away: neither peers nor clients reach it.
	Unplug(ctx context.Context) error
	// Plug gives it back, with another address among the host's peers.
	Plug(ctx context.Context) error
}

// SyscallFault has calls into the kernel fail or take long.
type SyscallFault struct {
	Calls string        // as strace names them, such as "fdatasync,fsync"
	Errno string        // such as "EIO"; "" where the calls go through
	Skip  bool          // the kernel is not asked, and the calls seem to succeed
	Delay time.Duration // how much longer each takes
	From  int           // the first call of a thread that fails, counted from 1; 0 is 1
}

// Resources is what a process takes.
type Resources struct {
	Resident    int64 `json:"resident"` // bytes
	Descriptors int   `json:"descriptors"`
}

// Exit is the end of a process.
type Exit struct {
	Host   Host
	At     time.Time
	Code   int    // its exit code; -1 where a signal ended it
	Signal string // such as "killed"; "" where none did
	// Asked says that Kill, Stop, LosePower or Close ended it.
	Asked bool
	Log   string // the newest lines that it logged
}

// ErrNotCovered says that a fault can't be made here. The error that wraps it says why
// and what it would take. A fault that was not made counts as not covered, never as
// survived.
var ErrNotCovered = errors.New("not covered here")

// notCovered returns an ErrNotCovered with its reason.
func notCovered(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotCovered, fmt.Sprintf(format, args...))
}

// ErrBusy says that another run has its lab on this machine. It names the process.
var ErrBusy = errors.New("another run is under way on this machine")
