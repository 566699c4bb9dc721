//go:build linux

package lab_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// helperArgument is the argument that makes the test's binary a helper.
const helperArgument = "lab-helper"

// TestMain runs the tests or, in another process, the program that they run on hosts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == helperArgument {
		fmt.Fprintln(os.Stderr, helperMain(os.Args[2:]))
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == runnerArgument {
		fmt.Fprintln(os.Stderr, runnerMain(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == dockerRunnerArgument {
		if err := dockerRunnerMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

// runTests gives these tests the claim of a machine of their own, so that they can run
// beside another Lab.
func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kvchaos-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Setenv("TMPDIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// helperProgram is a small server. It sends bytes from peers back, and carries out commands
// over HTTP. A command that fails is answered with 500.
func helperProgram(t testing.TB) lab.Program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return helperAt(self)
}

// helperAt is the helper of a binary of these tests.
func helperAt(path string) lab.Program {
	return lab.Program{Path: path, Args: func(own lab.Place, _ []lab.Place) []string {
		return []string{helperArgument, "-http", own.HTTP, "-peer", own.Peer, "-at", own.PeerAt, "-data", own.Data}
	}}
}

// helper is the process on a host.
type helper struct {
	data, at string
	hoard    [][]byte
	files    []*os.File

	mu    sync.Mutex
	conns map[string]net.Conn // guarded by mu; to peers, by address
}

func helperMain(args []string) error {
	h := &helper{conns: map[string]net.Conn{}}
	flags := flag.NewFlagSet(helperArgument, flag.ContinueOnError)
	httpAddr, peerAddr := flags.String("http", "", ""), flags.String("peer", "", "")
	flags.StringVar(&h.at, "at", "", "")
	flags.StringVar(&h.data, "data", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(h.data, 0o777); err != nil {
		return err
	}
	peers, err := net.Listen("tcp", *peerAddr)
	if err != nil {
		return err
	}
	go h.echo(peers)
	fmt.Println("helper serves", *httpAddr)
	return http.ListenAndServe(*httpAddr, http.HandlerFunc(h.serve))
}

// echo sends the bytes of each peer back.
func (h *helper) echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

func (h *helper) serve(w http.ResponseWriter, r *http.Request) {
	commands := map[string]func(r *http.Request) (any, error){
		"/at":    func(*http.Request) (any, error) { return h.at, nil },
		"/ping":  h.ping,
		"/write": h.write,
		"/size":  h.size,
		"/now":   func(*http.Request) (any, error) { return time.Now().UnixNano(), nil },
		"/tick":  h.tick,
		"/grow":  h.grow,
		"/open":  h.open,
		"/exit":  func(r *http.Request) (any, error) { os.Exit(number(r, "code")); return nil, nil },
	}
	command, ok := commands[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	said, err := command(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, said)
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.FormValue(name))
	return n
}

// ping sends bytes to the peer at to, on an existing connection or a new one. It returns
// the microseconds until all had come back.
func (h *helper) ping(r *http.Request) (any, error) {
	to, limit := r.FormValue("to"), time.Duration(number(r, "ms"))*time.Millisecond
	began := time.Now()
	c, err := h.conn(to, r.FormValue("fresh") != "", limit)
	if err != nil {
		return nil, err
	}
	message := make([]byte, max(number(r, "bytes"), 1))
	if err := c.SetDeadline(began.Add(limit)); err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() { _, err := c.Write(message); sent <- err }()
	_, err = io.ReadFull(c, make([]byte, len(message)))
	if err := errors.Join(err, <-sent); err != nil {
		h.forget(to)
		return nil, err
	}
	return time.Since(began).Microseconds(), nil
}

// conn returns a connection to a peer.
func (h *helper) conn(to string, fresh bool, limit time.Duration) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.conns[to]; c != nil && !fresh {
		return c, nil
	}
	c, err := net.DialTimeout("tcp", to, limit)
	if err == nil {
		h.conns[to] = c
	}
	return c, err
}

func (h *helper) forget(to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.conns[to]; c != nil {
		_ = c.Close()
		delete(h.conns, to)
	}
}

// write writes a file of a number of bytes, and syncs it if sync is set.
func (h *helper) write(r *http.Request) (any, error) {
	f, err := os.Create(filepath.Join(h.data, r.FormValue("name")))
	if err != nil {
		return nil, err
	}
	began := time.Now()
	_, err = f.Write(make([]byte, number(r, "bytes")))
	if err == nil && r.FormValue("sync") != "" {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return time.Since(began).Microseconds(), nil
}

// size returns the size of a file, or -1 if there is none.
func (h *helper) size(r *http.Request) (any, error) {
	info, err := os.Stat(filepath.Join(h.data, r.FormValue("name")))
	if errors.Is(err, os.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return nil, err
	}
	return info.Size(), nil
}

// tick is the time that the command of that name sleeps.
const tick = 20 * time.Millisecond

// tick returns the progress of wall clock and monotonic clock in a tick, in microseconds.
func (h *helper) tick(*http.Request) (any, error) {
	began := time.Now()
	time.Sleep(tick)
	now := time.Now()
	return fmt.Sprint(now.Round(0).Sub(began.Round(0)).Microseconds(), " ", now.Sub(began).Microseconds()), nil
}

// grow takes a number of bytes of memory.
func (h *helper) grow(r *http.Request) (any, error) {
	b := make([]byte, number(r, "bytes"))
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	h.hoard = append(h.hoard, b)
	return len(b), nil
}

// open opens a number of files.
func (h *helper) open(r *http.Request) (any, error) {
	for range number(r, "n") {
		f, err := os.Open("/dev/null")
		if err != nil {
			return nil, err
		}
		h.files = append(h.files, f)
	}
	return len(h.files), nil
}
