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
	// defaultTimeout is above what a server gives a request, 4.5 s, so that its
	// answer comes before the client gives up.
	defaultTimeout = 10 * time.Second
	// adminTimeout is above what a server gives a membership change, 30 s.
	adminTimeout = 40 * time.Second
)

// clientFlags are the flags of every command that talks to a cluster.
type clientFlags struct {
	endpoints []string
	timeout   time.Duration
	ca        string // PEM file
}

// addClientFlags gives cmd the flags of a client, and their variables.
func addClientFlags(cmd *cobra.Command, timeout time.Duration) *clientFlags {
	f := new(clientFlags)
	cmd.Flags().StringSliceVar(&f.endpoints, "endpoints", []string{defaultEndpoint},
		"HTTP addresses to ask, in turn, comma separated (or KVORUM_ENDPOINTS)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout,
		"longest time for one request (or KVORUM_TIMEOUT)")
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
	// The standard logger is net/http's alone here. It says there what a server sent that
	// was asked nothing, in lines of its own; the request's error says that too.
	log.SetOutput(io.Discard)
	return f.connect(f.endpoints)
}

// openEach returns a client of each endpoint by itself.
func (f *clientFlags) openEach(cmd *cobra.Command) ([]*client.Client, error) {
	all, err := f.open(cmd) // for the variables, and for what is wrong with any of them
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

// nodeName returns the node that the arguments of a command name, "" where they name
// none: advice says what that means. A name that is empty is refused, as by a server: it
// is more likely a script's unset variable than meant.
func nodeName(args []string, advice string) (string, error) {
	if len(args) > 0 && args[0] == "" {
		return "", fmt.Errorf("%s: id: must not be empty; leave it out for %s", "Invalid request", advice)
	}
	return strings.Join(args, ""), nil
}

// inFlags puts the names of flags in the place of the fields that package client names.
var inFlags = strings.NewReplacer(
	"Config.Endpoints", "--endpoints",
	"Config.CAFile", "--ca",
	"ReadOptions.Level", "--consistency",
	"ReadOptions.MaxStale", "--max-stale",
	"ListOptions.Limit", "--limit",
)
