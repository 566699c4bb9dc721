package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/kv"
)

// logLevels are the values of --log-level.
var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// timings are the values of --timing.
var timings = map[string]cluster.Timing{"local": cluster.DefaultTiming(), "wan": cluster.WideAreaTiming()}

// serverOptions are the flags of server.
type serverOptions struct {
	config  string // YAML file with the settings that flags and variables don't set
	id      string
	dataDir string

	// Addresses are host:port. An empty advertised address means the bound one.
	httpAddr, peerAddr, gossipAddr                string
	advertiseHTTP, advertisePeer, advertiseGossip string
	bootstrapExpect                               int
	nonVoter                                      bool
	deadServerAfter                               time.Duration
	timing                                        string
	join                                          []string
	maxKeyBytes, maxValueBytes                    int
	ballastBytes                                  int64
	snapshotBytesPerSecond                        int64
	pipelineWindow                                int
	maxCommandVersion                             int
	logFormat, logLevel                           string
	exitOnStdinEOF                                bool
	secure                                        secureOptions

	memoryLimitBytes, maxDataBytes int64

	// set by planLimits
	descriptors cluster.DescriptorPlan
	memory      cluster.MemoryPlan
}

func newServerCommand() *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "server --id NAME --data-dir DIR [flags]",
		Short: "Run one node",
		Long: `Server runs one node until SIGTERM or Ctrl-C. Then it waits for requests in flight
and transfers leadership to another node. A second signal ends it at once.

A new cluster is formed by exactly --bootstrap-expect nodes that find each other
through --join. Without --bootstrap-expect a node finds a cluster through --join,
or waits for "kvorum join". A node that has been in a cluster continues with its
data directory and ignores both flags.

Each flag can be set by a variable, --data-dir by KVORUM_DATA_DIR and so on, and
by its name in the YAML file --config. The command line overrides variables,
variables override the file. For an address bound to all interfaces,
--advertise-*-addr must be the address that others reach. Host names are looked up
at each use.`,
		Example: `  kvorum server --id n1 --data-dir data --bootstrap-expect 1

  kvorum server --id n1 --data-dir data --bootstrap-expect 3 \
    --http-addr 10.0.0.1:8001 --peer-addr 10.0.0.1:7001 --gossip-addr 10.0.0.1:6001 \
    --join 10.0.0.1:6001,10.0.0.2:6001,10.0.0.3:6001

  KVORUM_ID=n1 KVORUM_DATA_DIR=/data kvorum server --config kvorum.yaml`,
		Args: exactArgs(0),
	}
	o.addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.settle(cmd.Flags()); err != nil {
			return err
		}
		log := o.logger(cmd.ErrOrStderr())
		if o.bootstrapExpect > 0 && o.bootstrapExpect%2 == 0 {
			log.Warn("an even number of nodes survives no more failures than one node less", "bootstrap-expect", o.bootstrapExpect)
		}
		ctx := cmd.Context()
		if o.exitOnStdinEOF {
			ctx = untilEOF(ctx, cmd.InOrStdin())
		}
		return serve(ctx, o, log)
	}
	return cmd
}

// addFlags gives cmd the flags of server.
func (o *serverOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.config, configFlag, "", "YAML file whose keys are the names of these flags")
	f.StringVar(&o.id, "id", "", "the node's name, unique in its cluster: letters, digits, '-' and '_'")
	f.StringVar(&o.dataDir, "data-dir", "", "directory for all data; made if missing")
	f.StringVar(&o.httpAddr, "http-addr", "127.0.0.1:8001", "address of the HTTP API")
	f.StringVar(&o.peerAddr, "peer-addr", "127.0.0.1:7001", "address for other nodes (TCP)")
	f.StringVar(&o.gossipAddr, "gossip-addr", "127.0.0.1:6001", "address for finding other nodes (TCP and UDP)")
	f.StringVar(&o.advertiseHTTP, "advertise-http-addr", "", "HTTP address that others reach (default the bound one)")
	f.StringVar(&o.advertisePeer, "advertise-peer-addr", "", "peer address that others reach (default the bound one)")
	f.StringVar(&o.advertiseGossip, "advertise-gossip-addr", "", "gossip address that others reach (default the bound one)")
	f.IntVar(&o.bootstrapExpect, "bootstrap-expect", 0, "number of nodes that form a new cluster together")
	f.StringSliceVar(&o.join, "join", nil, "gossip addresses of other nodes, comma separated; one that answers is enough")
	f.BoolVar(&o.nonVoter, "non-voter", false, "never vote: a read replica, which does not count for a majority")
	f.DurationVar(&o.deadServerAfter, "dead-server-after", 0, "remove a member that this node, as the leader, has not reached for this time, while at least three voters are left; 0 is never")
	f.StringVar(&o.timing, "timing", "local", "local, or wan for nodes far apart: the time to wait for other nodes")
	f.IntVar(&o.maxKeyBytes, "max-key-bytes", cluster.DefaultMaxKeyBytes, "maximum length of a key, 1 to 4096")
	f.IntVar(&o.maxValueBytes, "max-value-bytes", cluster.DefaultMaxValueBytes, "maximum size of a value, 1 to 67108864 (64 MiB)")
	f.Int64Var(&o.ballastBytes, "ballast-bytes", 64<<20, "size of the file ballast in the data directory, to be removed when the disk is full; 0 is none")
	f.Int64Var(&o.snapshotBytesPerSecond, "snapshot-bytes-per-second", 0, "maximum rate at which this node, as the leader, sends all snapshots together; 0 is no maximum")
	f.IntVar(&o.pipelineWindow, "pipeline-window", 0, "maximum number of unanswered messages with log entries to one follower, 2 to 8; 0 waits for the answer to each")
	f.Int64Var(&o.memoryLimitBytes, "memory-limit-bytes", 0, "memory that the node may take, at least 64 MiB, more for values above 1 MiB; 0 is no limit of its own; a lower limit by GOMEMLIMIT, the control group or the machine takes precedence")
	f.Int64Var(&o.maxDataBytes, "max-data-bytes", 0, "while this node leads, refuse puts that would make all keys, values, content types and flags together longer than this; 0 is no maximum")
	f.IntVar(&o.maxCommandVersion, "max-command-version", 0, "announce no higher version of commands in the log than this, so that the cluster can return to an older release; set it before the upgrade, and return while needs in every node's /status is at most this; 0 is the highest that this build understands")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json, on standard error")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	o.secure.addFlags(f)
	f.BoolVar(&o.exitOnStdinEOF, stdinFlag, false, "stop when standard input ends: the process at its other end has ended")
	_ = f.MarkHidden(stdinFlag) // fails only for a flag that does not exist
}

// settle completes o from variables and file, and validates it.
func (o *serverOptions) settle(flags *pflag.FlagSet) error {
	if err := applyVariables(flags); err != nil {
		return err
	}
	if o.config != "" {
		if err := applyFile(flags, o.config); err != nil {
			return err
		}
	}
	return o.validate()
}

// validate returns the first mistake, before anything is opened.
func (o *serverOptions) validate() error {
	switch {
	case o.id == "":
		return usagef("--id is required")
	case o.dataDir == "":
		return usagef("--data-dir is required")
	case o.maxKeyBytes == 0 || o.maxValueBytes == 0: // the library takes 0 for its default
		return usagef("--max-key-bytes %d and --max-value-bytes %d must both be at least 1", o.maxKeyBytes, o.maxValueBytes)
	case o.memoryLimitBytes < 0:
		return usagef("--memory-limit-bytes %d is negative", o.memoryLimitBytes)
	case o.logFormat != "text" && o.logFormat != "json":
		return usagef("--log-format %q is neither text nor json", o.logFormat)
	}
	if _, ok := timings[o.timing]; !ok {
		return usagef("--timing %q is neither local nor wan", o.timing)
	}
	if _, ok := logLevels[o.logLevel]; !ok {
		return usagef("--log-level %q is none of debug, info, warn, error", o.logLevel)
	}
	if err := o.secure.validate(); err != nil {
		return err
	}
	if err := o.validateAddresses(); err != nil {
		return err
	}
	return o.validateLimits()
}

// validateLimits lets the library check its own limits, and names the flags in errors.
func (o *serverOptions) validateLimits() error {
	config := cluster.Config{Timing: timings[o.timing]}
	o.setLimits(&config)
	err := config.ValidateLimits()
	if invalid := new(kv.ValidationError); errors.As(err, &invalid) {
		return usagef("--%s %s", invalid.Field, invalid.Reason)
	}
	return err
}

// setLimits sets the fields of a node's configuration that correspond to one flag each.
func (o *serverOptions) setLimits(config *cluster.Config) {
	config.BootstrapExpect = o.bootstrapExpect
	config.Join = o.join
	config.NonVoter = o.nonVoter
	config.DeadServerAfter = o.deadServerAfter
	config.MaxKeyBytes = o.maxKeyBytes
	config.MaxValueBytes = o.maxValueBytes
	config.BallastBytes = o.ballastBytes
	config.MaxDataBytes = o.maxDataBytes
	config.SnapshotBytesPerSecond = o.snapshotBytesPerSecond
	config.PipelineWindow = o.pipelineWindow
	config.MaxCommandVersion = o.maxCommandVersion
}

// validateAddresses checks each address, and that no two are bound to the same port.
func (o *serverOptions) validateAddresses() error {
	binds := []struct{ flag, bind, advertise string }{
		{"http-addr", o.httpAddr, o.advertiseHTTP},
		{"peer-addr", o.peerAddr, o.advertisePeer},
		{"gossip-addr", o.gossipAddr, o.advertiseGossip},
	}
	for i, b := range binds {
		host, port, err := splitAddress(b.flag, b.bind)
		if err != nil {
			return err
		}
		if b.advertise == "" && unspecified(host) {
			return usagef("--%s %s is bound to all interfaces: set --advertise-%s to the address that others reach", b.flag, b.bind, b.flag)
		}
		if b.advertise != "" {
			if err := checkReachable("advertise-"+b.flag, b.advertise); err != nil {
				return err
			}
		}
		for _, other := range binds[:i] {
			otherHost, otherPort, _ := net.SplitHostPort(other.bind) // it was checked before
			if port == otherPort && port != "0" && (host == otherHost || unspecified(host) || unspecified(otherHost)) {
				return usagef("--%s and --%s are both %s", other.flag, b.flag, b.bind)
			}
		}
	}
	for _, addr := range o.join {
		if err := checkReachable("join", addr); err != nil {
			return err
		}
	}
	return nil
}

// splitAddress splits host:port, whose host may be empty and whose port may be 0.
func splitAddress(flag, addr string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(addr)
	if err != nil {
		return "", "", usagef("--%s %q is not host:port", flag, addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", usagef("--%s %q: the port is not a number up to 65535", flag, addr)
	}
	return host, port, nil
}

// checkReachable returns an error unless another node can dial addr.
func checkReachable(flag, addr string) error {
	host, port, err := splitAddress(flag, addr)
	if err != nil {
		return err
	}
	if unspecified(host) || strings.Trim(port, "0") == "" {
		return usagef("--%s %q is no address that others can reach", flag, addr)
	}
	return nil
}

// unspecified reports whether a socket that is bound to host is bound to all interfaces.
func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || (ip != nil && ip.IsUnspecified())
}

// logger returns the node's logger.
func (o *serverOptions) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevels[o.logLevel]}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if o.logFormat == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	return slog.New(handler).With("node", o.id)
}
