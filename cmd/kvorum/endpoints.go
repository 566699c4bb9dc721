package main

import (
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
)

const (
	// defaultEndpoint is the first node of a local cluster.
	defaultEndpoint = "127.0.0.1:8001"
	// defaultTimeout is the default time for one request. It is more than a server's own
	// limit, 4.5 s, so that the server's answer arrives before it.
	defaultTimeout = 10 * time.Second
	// adminTimeout is the default time for a membership change. It is more than a server's
	// own limit, 30 s.
	adminTimeout = 40 * time.Second
)

// clientFlags are the flags of every command that talks to a cluster.
type clientFlags struct {
	endpoints []string
	timeout   time.Duration
	ca        string // PEM file
}

// addClientFlags adds the flags of a client to cmd.
func addClientFlags(cmd *cobra.Command, timeout time.Duration) *clientFlags {
	f := new(clientFlags)
	cmd.Flags().StringSliceVar(&f.endpoints, "endpoints", []string{defaultEndpoint},
		"HTTP addresses to ask, in turn, comma separated (or KVORUM_ENDPOINTS)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout,
		"maximum time for one request (or KVORUM_TIMEOUT)")
	cmd.Flags().StringVar(&f.ca, "ca", "",
		"PEM file of the authorities that sign the nodes' certificates, for https endpoints (or KVORUM_CA)")
	return f
}

// open returns a client of all endpoints.
func (f *clientFlags) open(cmd *cobra.Command) (*client.Client, error) {
	for _, name := range []string{"endpoints", "timeout", "ca"} {
		if err := applyVariable(cmd.Flags(), cmd.Flags().Lookup(name)); err != nil {
			return nil, err
		}
	}
	if f.timeout <= 0 { // the library takes 0 for its default
		return nil, usagef("--timeout must be greater than 0")
	}
	// Only net/http uses the standard logger here. It logs unexpected bytes from a server, in
	// lines of its own; the request's error has them too.
	log.SetOutput(io.Discard)
	return f.connect(f.endpoints)
}

// openEach returns one client for each endpoint.
func (f *clientFlags) openEach(cmd *cobra.Command) ([]*client.Client, error) {
	all, err := f.open(cmd) // applies the variables, and checks all endpoints
	if err != nil {
		return nil, err
	}
	defer all.Close()
	var each []*client.Client
	for _, endpoint := range f.endpoints {
		c, err := f.connect([]string{endpoint})
		if err != nil {
			return nil, err
		}
		each = append(each, c)
	}
	return each, nil
}

// connect returns a client of some endpoints.
func (f *clientFlags) connect(endpoints []string) (*client.Client, error) {
	return client.New(client.Config{Endpoints: endpoints, Timeout: f.timeout, CAFile: f.ca})
}

// nodeName returns the name of a node in a command's arguments, or "" if there is none;
// advice names the node that is meant then. A name that is empty is refused, as by a
// server: most likely it is an unset variable of a script.
func nodeName(args []string, advice string) (string, error) {
	if len(args) > 0 && args[0] == "" {
		return "", fmt.Errorf("%s: id: must not be empty; leave it out for %s", "Invalid request", advice)
	}
	return strings.Join(args, ""), nil
}

// inFlags replaces the names of package client's fields by those of flags.
var inFlags = strings.NewReplacer(
	"Config.Endpoints", "--endpoints",
	"Config.CAFile", "--ca",
	"ReadOptions.Level", "--consistency",
	"ReadOptions.MaxStale", "--max-stale",
	"ListOptions.Limit", "--limit",
	"WatchOptions: span: has", "--start and --end: they have",
	"WatchOptions: from_revision: and snapshot", "--from-revision and --snapshot",
)
