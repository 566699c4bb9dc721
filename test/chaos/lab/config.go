package lab

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
)

// The kinds of Lab that Open can make.
const (
	KindNamespaces = "namespaces"
	KindProxy      = "proxy"
)

const (
	// maxHosts is the maximum number of hosts of a Lab.
	maxHosts = 20
	// minLoopMiB is the minimum size of an ext4 disk.
	minLoopMiB = 32
)

// Config configures Open.
type Config struct {
	// Kind is KindNamespaces or KindProxy. Empty means namespaces if the process has the
	// rights, otherwise the proxy.
	Kind    string
	Program Program
	// Initial hosts form the cluster, Spare hosts can be added to it. Together they
	// are at most 20.
	Initial, Spare int
	// Dir is an existing directory for the hosts' data and logs, DIR/NAME.log. The Lab
	// removes nothing from it.
	Dir string
	// DiskMiB is the size in MiB of a disk of its own for each host: memory (tmpfs), or,
	// with LoopDisk, an ext4 filesystem in a file of Dir, of at least 32 MiB. Such a disk
	// needs root, and is lost with the Lab. With 0 the hosts share the disk of Dir.
	DiskMiB  int
	LoopDisk bool
	// Logger logs the Lab's own decisions; if it is nil, they are not logged.
	Logger *slog.Logger
}

// Program is the program that runs on the hosts.
type Program struct {
	Path string // of the binary
	// Args returns the arguments of the process at a place; all are the places of all
	// hosts, the own one included. It is called at each start.
	Args func(own Place, all []Place) []string
	// Env is added to the environment of this process.
	Env []string
}

// Place has the addresses and the data directory of a host's process. Addresses are
// host:port. In namespaces, the two addresses of a pair are the same.
type Place struct {
	Name    string
	Initial bool // the host is one of those that form the cluster

	HTTP             string // for clients
	Peer, PeerAt     string // the address to listen on for peers, and the one at which they reach it
	Gossip, GossipAt string // the same of gossip, TCP and UDP
	Data             string // the data directory; it may not exist yet
}

// Kvorum is the Program of a Kvorum server, with further flags.
func Kvorum(path string, flags ...string) Program {
	return Program{Path: path, Args: func(own Place, all []Place) []string {
		var seeds []string
		initial := 0
		for _, p := range all {
			if p.Initial {
				initial++
			}
			if p.Name != own.Name {
				seeds = append(seeds, p.GossipAt)
			}
		}
		args := []string{
			"server", "--id", own.Name, "--data-dir", own.Data, "--http-addr", own.HTTP,
			"--peer-addr", own.Peer, "--advertise-peer-addr", own.PeerAt,
			"--gossip-addr", own.Gossip, "--advertise-gossip-addr", own.GossipAt,
		}
		if own.Initial {
			args = append(args, "--bootstrap-expect", strconv.Itoa(initial))
		}
		if len(seeds) > 0 {
			args = append(args, "--join", strings.Join(seeds, ","))
		}
		return append(args, flags...)
	}}
}

// resolve checks c and sets its zero fields.
func (c Config) resolve() (Config, error) {
	var errs []error
	if c.Initial < 1 || c.Spare < 0 || c.Initial+c.Spare > maxHosts {
		errs = append(errs, fmt.Errorf("%d hosts and %d to spare are not 1 to %d", c.Initial, c.Spare, maxHosts))
	}
	if c.Program.Path == "" || c.Program.Args == nil {
		errs = append(errs, errors.New("no program"))
	}
	if c.Dir == "" {
		errs = append(errs, errors.New("no directory"))
	}
	if c.DiskMiB < 0 || c.LoopDisk && c.DiskMiB < minLoopMiB {
		errs = append(errs, fmt.Errorf("a disk of %d MiB is too small", c.DiskMiB))
	}
	for _, path := range []*string{&c.Dir, &c.Program.Path} {
		absolute, err := filepath.Abs(*path)
		*path = absolute
		errs = append(errs, err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(errs...)
}
