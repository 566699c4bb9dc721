package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kvorum/kvorum/transport"
)

// install sends a snapshot from a to b in the background.
func install(a *node, size int64, data io.Reader) <-chan callResult {
	done := make(chan callResult, 1)
	go func() {
		var resp raft.InstallSnapshotResponse
		err := a.Raft().InstallSnapshot("b", "b", &raft.InstallSnapshotRequest{
			RPCHeader: header(a), SnapshotVersion: 1, Term: 1, LastLogIndex: 7, LastLogTerm: 1, Size: size,
		}, &resp, data)
		if err == nil && !resp.Success {
			err = errors.New("rejected")
		}
		done <- callResult{err: err}
	}()
	return done
}

// receiveAll reads a snapshot as raft does, and answers.
func receiveAll(rpc raft.RPC) ([]byte, error) {
	request := rpc.Command.(*raft.InstallSnapshotRequest)
	b, err := io.ReadAll(rpc.Reader)
	if err == nil && int64(len(b)) != request.Size {
		err = errors.New("short read")
	}
	io.Copy(io.Discard, rpc.Reader)
	rpc.Respond(&raft.InstallSnapshotResponse{Term: 1, Success: err == nil}, err)
	return b, err
}

func TestSnapshot_Sizes(t *testing.T) {
	a, b := pair(t)
	for _, size := range []int{0, 1, 256 << 10, 1<<20 + 1} {
		data := bytes.Repeat([]byte("snapshot "), size/9+1)[:size]
		done := install(a, int64(size), bytes.NewReader(data))
		got, err := receiveAll(await(t, "the snapshot at raft", b.Raft().Consumer()))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
		if got := await(t, "the answer", done); got.err != nil {
			t.Errorf("%d bytes: InstallSnapshot: %v", size, got.err)
		}
	}
	poll(t, "the connections close", func() bool { return a.Stats().SnapshotStreams+b.Stats().SnapshotStreams == 0 })
}

// TestSnapshot_Checksum checks that a snapshot that changes on the way never
// reaches its end at raft, wherever it changes.
func TestSnapshot_Checksum(t *testing.T) {
	const size = 1000
	for _, fromEnd := range []int64{1, 4, 5, 4 + size} { // of the checksum, and of the data
		t.Run(fmt.Sprint(fromEnd), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var network memNet
				addrs := new(book)
				count := &counting{}
				a := startNode(t, "a", addrs, func(c *transport.Config) {
					network.ours(addrs)(c)
					c.Dial = count.dial(c.Dial)
				})
				b := startNode(t, "b", addrs, network.ours(addrs))
				send := func() (error, error) {
					done := install(a, size, strings.NewReader(strings.Repeat("x", size)))
					_, err := receiveAll(<-b.Raft().Consumer())
					return (<-done).err, err
				}
				if sent, received := send(); sent != nil || received != nil {
					t.Fatalf("unharmed: %v, %v", sent, received)
				}
				count.flipAt = count.newest.written() - fromEnd
				sent, received := send()
				if !errors.Is(received, transport.ErrChecksum) {
					t.Errorf("raft read %v, want ErrChecksum", received)
				}
				if sent == nil || !strings.Contains(sent.Error(), "checksum") {
					t.Errorf("the sender got %v", sent)
				}
			})
		})
	}
}

// counting dials connections that count what is written, and spoil a byte.
type counting struct {
	flipAt int64 // offset of the byte to spoil on later connections; 0 is none
	newest *countingConn
}

type countingConn struct {
	net.Conn
	flipAt int64
	mu     sync.Mutex
	n      int64        // guarded by mu
	sent   bytes.Buffer // guarded by mu
}

func (c *counting) dial(next func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := next(ctx, addr)
		c.newest = &countingConn{Conn: conn, flipAt: c.flipAt}
		return c.newest, err
	}
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	p = bytes.Clone(p)
	if at := c.flipAt - c.n; c.flipAt > 0 && at >= 0 && at < int64(len(p)) {
		p[at] ^= 0x40
	}
	c.n += int64(len(p))
	c.sent.Write(p)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *countingConn) recorded() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent.String()
}

func (c *countingConn) written() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestSnapshot_Broken checks that a snapshot that is not complete is
// an error at both ends.
func TestSnapshot_Broken(t *testing.T) {
	t.Run("DataEndsEarly", func(t *testing.T) {
		a, b := pair(t)
		done := install(a, 1000, strings.NewReader("too short"))
		if _, err := receiveAll(await(t, "the snapshot at raft", b.Raft().Consumer())); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("raft read %v, want ErrUnexpectedEOF", err)
		}
		if got := await(t, "the answer", done); !errors.Is(got.err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v, want ErrUnexpectedEOF", got.err)
		}
	})
	t.Run("SenderCloses", func(t *testing.T) {
		a, b := pair(t)
		reader, writer := io.Pipe()
		done := install(a, 1<<30, reader)
		rpc := await(t, "the snapshot at raft", b.Raft().Consumer())
		received := make(chan error, 1)
		go func() {
			_, err := receiveAll(rpc)
			received <- err
		}()
		writer.Write(make([]byte, 300<<10))
		go a.Close()
		if err := await(t, "raft notices", received); err == nil {
			t.Errorf("raft read to the end")
		}
		writer.CloseWithError(errors.New("over"))
		if got := await(t, "the answer", done); got.err == nil {
			t.Errorf("InstallSnapshot succeeded")
		}
	})
	t.Run("ReceiverCloses", func(t *testing.T) {
		a, b := pair(t)
		done := install(a, 1<<30, zeros{})
		await(t, "the snapshot at raft", b.Raft().Consumer())
		b.Close()
		if got := await(t, "the answer", done); got.err == nil {
			t.Errorf("InstallSnapshot succeeded")
		}
	})
	t.Run("ReceiverFails", func(t *testing.T) {
		a, b := pair(t)
		done := install(a, 100, strings.NewReader(strings.Repeat("x", 100)))
		rpc := await(t, "the snapshot at raft", b.Raft().Consumer())
		rpc.Respond(nil, errors.New("no room"))
		var remote *transport.RemoteError
		if got := await(t, "the answer", done); !errors.As(got.err, &remote) || remote.Message != "no room" {
			t.Errorf("got %v, want raft's error", got.err)
		}
	})
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSnapshot_SlowRaft checks that a snapshot waits as long as raft needs, while
// it says that it lives, and no longer than it does.
func TestSnapshot_SlowRaft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		a, b := startNode(t, "a", addrs, network.ours(addrs)), startNode(t, "b", addrs, network.ours(addrs))
		done := install(a, 5, strings.NewReader("state"))
		time.Sleep(time.Hour) // raft has other things to do
		rpc := <-b.Raft().Consumer()
		b1, err := io.ReadAll(rpc.Reader)
		if err != nil || string(b1) != "state" {
			t.Errorf("got %q, %v", b1, err)
		}
		time.Sleep(time.Hour) // it restores
		rpc.Respond(&raft.InstallSnapshotResponse{Success: true}, nil)
		if got := <-done; got.err != nil {
			t.Errorf("InstallSnapshot: %v", got.err)
		}
	})
}

// TestSnapshot_Pace checks the bound on the rate of snapshots, and what Peers
// tells of their progress.
func TestSnapshot_Pace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		a := startNode(t, "a", addrs, func(c *transport.Config) { network.ours(addrs)(c); c.SnapshotBytesPerSecond = 1000 })
		b := startNode(t, "b", addrs, network.ours(addrs))
		began := time.Now()
		done := install(a, 60_000, zeros{})
		go receiveAll(<-b.Raft().Consumer())
		time.Sleep(30*time.Second + time.Millisecond)
		peers := a.Peers()
		if len(peers) != 1 || peers[0].ID != "b" || peers[0].Snapshot == nil {
			t.Fatalf("Peers = %+v, want a snapshot on its way to b", peers)
		}
		s := peers[0].Snapshot
		if s.Sent < 29_900 || s.Sent > 30_200 || s.Total != 60_000 || s.Index != 7 || s.Term != 1 || !s.Began.Equal(began) || peers[0].Installed != 0 {
			t.Errorf("progress after 30 of 60 seconds: %+v", s)
		}
		if got := <-done; got.err != nil {
			t.Errorf("InstallSnapshot: %v", got.err)
		}
		if took := time.Since(began); took < 59*time.Second || took > 61*time.Second {
			t.Errorf("60,000 bytes at 1,000 a second took %v", took)
		}
		if got := a.Peers()[0]; got.Snapshot != nil || got.BytesOut < 60_000 || got.LastContact.IsZero() || got.Installed != 7 || got.InstalledTerm != 1 {
			t.Errorf("afterwards: %+v", got)
		}
	})
}

// TestSnapshot_SenderVanishes checks that a node whose leader's host vanishes while
// it sends a snapshot votes again within seconds: raft's main goroutine waits for
// the data, and nothing else is answered meanwhile.
func TestSnapshot_SenderVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		a, b, c := startNode(t, "a", addrs, network.ours(addrs)), startNode(t, "b", addrs, network.ours(addrs)), startNode(t, "c", addrs, network.ours(addrs))
		respond(t, b, func(rpc raft.RPC) (any, error) {
			if rpc.Reader == nil {
				return &raft.RequestPreVoteResponse{Granted: true}, nil
			}
			_, err := io.Copy(io.Discard, rpc.Reader)
			return &raft.InstallSnapshotResponse{}, err
		})
		data, host := io.Pipe()
		sent := install(a, 1<<20, data)
		host.Write(make([]byte, 300<<10)) // and nothing more, though nothing closes
		synctest.Wait()
		began := time.Now()
		if err := vote(c, "b"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("b votes again after %v", took)
		}
		host.CloseWithError(io.ErrUnexpectedEOF)
		if got := <-sent; got.err == nil {
			t.Error("the snapshot was installed")
		}
	})
}

// TestSnapshot_SlowSender checks that a sender which is told to be as slow as can
// be is not taken for one that has vanished.
func TestSnapshot_SlowSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memNet
		addrs := new(book)
		a := startNode(t, "a", addrs, func(c *transport.Config) {
			network.ours(addrs)(c)
			c.SnapshotBytesPerSecond = 1
		})
		b := startNode(t, "b", addrs, network.ours(addrs))
		began, sent := time.Now(), install(a, 60, strings.NewReader(strings.Repeat("x", 60)))
		if _, err := receiveAll(<-b.Raft().Consumer()); err != nil {
			t.Error(err)
		}
		if got := <-sent; got.err != nil {
			t.Error(got.err)
		}
		if took := time.Since(began); took < 50*time.Second {
			t.Errorf("60 bytes at 1 byte a second took %v", took)
		}
	})
}
