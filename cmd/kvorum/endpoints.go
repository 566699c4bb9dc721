package main

import (
	"time"

	"github.com/spf13/cobra"
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

// open returns a client that keeps up to conns connections to each endpoint.
func (f *clientFlags) open(cmd *cobra.Command, conns int) (*client, error) {
	for _, name := range []string{"endpoints", "timeout", "ca"} {
		if err := applyVariable(cmd.Flags(), cmd.Flags().Lookup(name)); err != nil {
			return nil, err
		}
	}
	return newClient(f.endpoints, f.timeout, conns, f.ca)
}
