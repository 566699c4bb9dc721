package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/kv"
)

// leaseFlag is the value of a flag or an argument with the id of a lease; 0 means that it is not
// given.
type leaseFlag kv.LeaseID

// Set implements pflag.Value.
func (f *leaseFlag) Set(text string) error {
	id, err := api.ParseLease(text)
	*f = leaseFlag(id)
	return err
}

// String implements pflag.Value.
func (f *leaseFlag) String() string { return api.FormatLease(kv.LeaseID(*f)) }

// Type implements pflag.Value.
func (f *leaseFlag) Type() string { return "lease" }

// leaseArg returns the id of a lease in an argument.
func leaseArg(text string) (kv.LeaseID, error) {
	id, err := api.ParseLease(text)
	if err != nil {
		return 0, usagef("LEASE %q %w", text, err)
	}
	return id, nil
}

func newLeaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lease",
		Short: "Make leases, keep them alive, end and show them",
		Long: `A lease ends when its time to live has passed since it was made or last kept alive.
The keys that are attached to it ("kvorum put --lease") are deleted then. The id of a
lease is 16 hexadecimal digits in lower case.`,
		Example: `  kvorum lease grant 30s
  kvorum put worker/7 10.0.0.7 --lease 00000000000004d2
  kvorum lease keep-alive 00000000000004d2`,
	}
	cmd.AddCommand(newLeaseGrantCommand(), newLeaseRevokeCommand(), newLeaseKeepAliveCommand(), newLeaseTTLCommand(), newLeaseListCommand())
	return cmd
}

func newLeaseGrantCommand() *cobra.Command {
	var id leaseFlag
	cmd := &cobra.Command{
		Use:   "grant TTL [flags]",
		Short: "Make a lease",
		Long: `Grant makes a lease and prints its id. TTL is its time to live, such as 30s or 1h30m;
less than 2s is raised to that, which -o table and -o json show. Without --id the cluster
chooses an id. A lease that exists already is an error with exit code 1.

A grant whose answer was lost is reported as "outcome unknown" and not sent again; if it
made a lease, that ends by itself.`,
		Example: `  kvorum lease grant 30s
  kvorum lease grant 1m --id 00000000000004d2 -o json`,
		Args: exactArgs(1),
	}
	cmd.Flags().Var(&id, "id", "id of the lease")
	output := addOutputFlag(cmd, outputRaw)
	addIdempotencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ttl, err := api.ParseLeaseTTL(args[0])
		if err != nil {
			return usagef("TTL %q %w", args[0], err)
		}
		print, err := output.leases(cmd.OutOrStdout())
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		lease, err := c.Grant(cmd.Context(), kv.LeaseID(id), ttl)
		if err != nil {
			return err
		}
		return print([]kv.Lease{lease})
	}
	return cmd
}

// leases returns a function that prints leases.
func (f *outputFlag) leases(out io.Writer) (func([]kv.Lease) error, error) {
	switch f.format {
	case outputRaw:
		return func(leases []kv.Lease) error {
			var errs []error
			for _, l := range leases {
				_, err := fmt.Fprintln(out, api.FormatLease(l.ID))
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}, nil
	case outputJSON:
		lines := json.NewEncoder(out)
		return func(leases []kv.Lease) error {
			var errs []error
			for _, l := range leases {
				errs = append(errs, lines.Encode(api.NewLease(l)))
			}
			return errors.Join(errs...)
		}, nil
	case outputTable:
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "LEASE\tTTL")
		return func(leases []kv.Lease) error {
			for _, l := range leases {
				fmt.Fprintf(table, "%s\t%v\n", api.FormatLease(l.ID), l.TTL)
			}
			return table.Flush()
		}, nil
	}
	return nil, usagef("--output %q is none of: table, json, raw", f.format)
}

func newLeaseRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revoke LEASE [flags]",
		Short:   "End a lease, and delete its keys",
		Long:    "Revoke ends a lease at once. The keys that are attached to it are deleted. A lease that does not exist is an error with exit code 1.",
		Example: "  kvorum lease revoke 00000000000004d2",
		Args:    exactArgs(1),
	}
	addIdempotencyFlag(cmd)
	return withLease(cmd, func(ctx context.Context, c *client.Client, id kv.LeaseID, out io.Writer) error {
		revoked, err := c.Revoke(ctx, id)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "revoked, %d keys deleted, revision %d\n", revoked.Deleted, revoked.Revision)
		return err
	})
}

// withLease adds to cmd the flags of a client, and makes it call run with the lease that is its
// argument.
func withLease(cmd *cobra.Command, run func(context.Context, *client.Client, kv.LeaseID, io.Writer) error) *cobra.Command {
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := leaseArg(args[0])
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		return run(cmd.Context(), c, id, cmd.OutOrStdout())
	}
	return cmd
}

func newLeaseKeepAliveCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "keep-alive LEASE [flags]",
		Short: "Keep a lease alive until interrupted",
		Long: `Keep-alive gives a lease its whole time to live again after each third of it, through
whichever of --endpoints answers, until it is interrupted. It ends with an error and exit
code 1 when the lease is lost: it does not exist any more, or no node has answered for
its whole time to live.`,
		Example: "  kvorum lease keep-alive 00000000000004d2 --endpoints 127.0.0.1:8001,127.0.0.1:8002",
		Args:    exactArgs(1),
	}
	cmd.Flags().BoolVar(&once, "once", false, "keep the lease alive once")
	return withLease(cmd, func(ctx context.Context, c *client.Client, id kv.LeaseID, out io.Writer) error {
		ttl, err := c.KeepAliveOnce(ctx, id)
		if err != nil {
			return withoutEnd(ctx, err)
		}
		if _, err := fmt.Fprintf(out, "kept alive, ttl %v\n", ttl); err != nil || once {
			return err
		}
		held, stop, err := c.KeepAlive(ctx, id)
		if err != nil {
			return withoutEnd(ctx, err)
		}
		defer stop()
		<-held.Done()
		return withoutEnd(ctx, context.Cause(held))
	})
}

func newLeaseTTLCommand() *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use:   "ttl LEASE [flags]",
		Short: "Show a lease, and what is left of it",
		Long: `Ttl shows the time to live of a lease, what is left of it, and with --keys the keys that
are attached to it, one per line after the table. A lease that does not exist is an error
with exit code 1.`,
		Example: "  kvorum lease ttl 00000000000004d2 --keys",
		Args:    exactArgs(1),
	}
	cmd.Flags().BoolVar(&keys, "keys", false, "show the keys that are attached to the lease")
	var format string
	cmd.Flags().StringVarP(&format, "output", "o", outputTable, "table: columns; json: a JSON object")
	return withLease(cmd, func(ctx context.Context, c *client.Client, id kv.LeaseID, out io.Writer) error {
		if format != outputTable && format != outputJSON {
			return usagef("--output %q is none of: table, json", format)
		}
		status, err := c.TimeToLive(ctx, id, keys)
		switch {
		case err != nil:
			return err
		case format == outputJSON:
			return json.NewEncoder(out).Encode(api.NewLeaseStatus(&status, keys))
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "LEASE\tTTL\tLEFT\n%s\t%v\t%v\n", api.FormatLease(id), status.TTL, status.Remaining.Truncate(time.Millisecond))
		for _, key := range status.Keys {
			fmt.Fprintln(table, printable(key))
		}
		return table.Flush()
	})
}

func newLeaseListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list [flags]",
		Short:   "List the leases",
		Long:    "List prints all leases in the order of their ids.",
		Example: "  kvorum lease list -o table",
		Args:    exactArgs(0),
	}
	output := addOutputFlag(cmd, outputRaw)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		print, err := output.leases(cmd.OutOrStdout())
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		for list := (kv.LeaseList{More: true}); list.More; {
			after := kv.LeaseID(0)
			if n := len(list.Leases); n > 0 {
				after = list.Leases[n-1].ID
			}
			if list, err = c.Leases(cmd.Context(), after, 0); err != nil {
				return err
			}
			if err := print(list.Leases); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}
