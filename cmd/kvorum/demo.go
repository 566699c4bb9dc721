package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	maxDemoNodes = 9
	// peerOffset and gossipOffset are the distances of a node's other ports below its HTTP port.
	peerOffset, gossipOffset = 1000, 2000
	// readyTimeout is the maximum wait until every node of a demo serves.
	readyTimeout = 60 * time.Second
	// readyPoll is the interval at which a demo asks its nodes whether they serve.
	readyPoll = 100 * time.Millisecond
)

func newDemoCommand() *cobra.Command {
	var nodes, basePort int
	var dir string
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Run a local cluster to try things out",
		Long: `Demo runs a cluster of child processes on this machine and prints "ready" when
every node serves. Ctrl-C stops it; the nodes also end when the demo is killed.
If a node is killed, the demo prints the command that starts it again, and the
other nodes continue.

Node i is named n<i> and listens on 127.0.0.1. Its HTTP port is --http-base-port
+ i - 1, its peer port 1000 below that, its gossip port 2000 below. Its data is in
DIR/n<i>, its log in DIR/n<i>.log. Without --data-dir, DIR is a temporary
directory, which is removed at the end. With --data-dir it is kept, and a second
run continues with its data.`,
		Example: `  kvorum demo
  kvorum demo --nodes 5 --data-dir ./demo`,
		Args: exactArgs(0),
	}
	cmd.Flags().IntVar(&nodes, "nodes", 3, "number of nodes, 1 to 9")
	cmd.Flags().StringVar(&dir, "data-dir", "", "directory to keep data in (default a temporary one)")
	cmd.Flags().IntVar(&basePort, "http-base-port", 8001, "HTTP port of n1")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		plan, err := planDemo(nodes, basePort)
		if err != nil {
			return err
		}
		if err := checkPorts(plan); err != nil {
			return err
		}
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		dir, remove, err := demoDir(dir, plan)
		if err != nil {
			return err
		}
		d := &demo{program: program, dir: dir, plan: plan, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
		return errors.Join(d.run(cmd.Context()), remove())
	}
	return cmd
}

// demoNode is the name of a demo's node, and the addresses on which it listens.
type demoNode struct{ id, http, peer, gossip string }

// planDemo names the nodes of a demo and gives them their ports.
func planDemo(nodes, basePort int) ([]demoNode, error) {
	if nodes < 1 || nodes > maxDemoNodes {
		return nil, usagef("--nodes %d is not between 1 and %d", nodes, maxDemoNodes)
	}
	if basePort <= gossipOffset || basePort+nodes-1 > 65535 {
		return nil, usagef("--http-base-port %d is not between %d and %d", basePort, gossipOffset+1, 65536-nodes)
	}
	var plan []demoNode
	for i := range nodes {
		addr := func(offset int) string {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(basePort+i-offset))
		}
		plan = append(plan, demoNode{
			id: fmt.Sprintf("n%d", i+1), http: addr(0), peer: addr(peerOffset), gossip: addr(gossipOffset),
		})
	}
	return plan, nil
}

// checkPorts returns an error for a port that is in use, before anything is started.
func checkPorts(plan []demoNode) error {
	for _, n := range plan {
		for _, p := range []struct{ what, addr string }{{"HTTP", n.http}, {"peer", n.peer}} {
			l, err := listen(p.what, p.addr)
			if err != nil {
				return fmt.Errorf("node %s: %w", n.id, err)
			}
			_ = l.Close() // nothing was accepted
		}
		if err := tryGossip(n.gossip); err != nil {
			return fmt.Errorf("node %s: %w", n.id, err)
		}
	}
	return nil
}

// demoDir returns the directory that a demo runs in, with one below it for each node. It
// also returns a function that removes a temporary directory at the end. A directory that
// was used with another number of nodes is refused: missing or new nodes would change
// the size of a majority, and there might be none.
func demoDir(dir string, plan []demoNode) (path string, remove func() error, err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "kvorum-demo-"); err != nil {
			return "", nil, err
		}
		remove = func() error { return os.RemoveAll(dir) }
	} else {
		remove = func() error { return nil }
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	used := 0
	for i := range maxDemoNodes {
		if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("n%d", i+1))); err == nil {
			used++
		}
	}
	if used != 0 && used != len(plan) {
		return "", nil, usagef("%s holds a cluster of %d nodes, not %d: use --nodes %d", dir, used, len(plan), used)
	}
	for _, n := range plan {
		if err := os.MkdirAll(filepath.Join(dir, n.id), 0o777); err != nil {
			return "", nil, errors.Join(err, remove())
		}
	}
	return dir, remove, nil
}

// demo is a cluster of child processes.
type demo struct {
	program   string
	dir       string
	plan      []demoNode
	out, errs io.Writer

	children []*child
	exits    chan *child // receives each child once, when it has ended
}

// run starts the nodes, and returns when ctx is cancelled or all nodes have ended.
func (d *demo) run(ctx context.Context) error {
	d.exits = make(chan *child, len(d.plan))
	defer d.stop()
	for _, n := range d.plan {
		c, err := startChild(n, d.program, d.args(n), filepath.Join(d.dir, n.id+".log"), d.exits)
		if err != nil {
			return fmt.Errorf("start node %s: %w", n.id, err)
		}
		d.children = append(d.children, c)
	}
	d.introduce()
	if err := d.awaitReady(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it was ready
		}
		return err
	}
	fmt.Fprintln(d.out, "ready")
	return d.watch(ctx)
}

// args returns the program's arguments for running a node.
func (d *demo) args(n demoNode) []string {
	var join []string
	for _, other := range d.plan {
		if other.id != n.id {
			join = append(join, other.gossip)
		}
	}
	args := []string{
		"server", "--id", n.id, "--data-dir", filepath.Join(d.dir, n.id),
		"--http-addr", n.http, "--peer-addr", n.peer, "--gossip-addr", n.gossip,
		"--bootstrap-expect", strconv.Itoa(len(d.plan)),
	}
	if len(join) > 0 {
		args = append(args, "--join", strings.Join(join, ","))
	}
	return args
}

// introduce prints the nodes and something to try.
func (d *demo) introduce() {
	for _, c := range d.children {
		fmt.Fprintf(d.out, "%s  http://%s  pid %d  log %s\n", c.node.id, c.node.http, c.pid(), c.logPath)
	}
	first, last := d.plan[0].http, d.plan[len(d.plan)-1].http
	fmt.Fprintf(d.out, "try: curl -X PUT --data-binary hello http://%s/kv/greeting && curl http://%s/kv/greeting\n", first, last)
}

// awaitReady waits until every node serves. A node that ends before that is an error.
func (d *demo) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for waiting := d.children; len(waiting) > 0; {
		if waiting[0].ready(ctx) {
			waiting = waiting[1:]
			continue
		}
		select {
		case c := <-d.exits:
			fmt.Fprintf(d.errs, "last log lines of node %s:\n%s\n", c.node.id, c.logTail())
			return fmt.Errorf("node %s ended early: %s", c.node.id, c.outcome())
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				fmt.Fprintf(d.errs, "last log lines of node %s:\n%s\n", waiting[0].node.id, waiting[0].logTail())
			}
			return fmt.Errorf("node %s was not ready within %v", waiting[0].node.id, readyTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// watch reports nodes that end, until ctx is cancelled or all nodes have ended. It is no
// error: users of a demo end nodes to see the cluster survive.
func (d *demo) watch(ctx context.Context) error {
	for range d.children {
		select {
		case <-ctx.Done():
			fmt.Fprintln(d.errs, "stopping")
			return nil
		case c := <-d.exits:
			fmt.Fprintf(d.errs, "node %s ended (%s); to start it again: %s %s\n",
				c.node.id, c.outcome(), d.program, strings.Join(d.args(c.node), " "))
		}
	}
	return errors.New("every node has ended")
}

// stop ends the nodes that still run, one after the other, so that each can transfer
// leadership to a node that still runs.
func (d *demo) stop() {
	for _, c := range d.children {
		c.stop()
	}
}
