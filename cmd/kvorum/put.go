package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/internal/api"
)

func newPutCommand() *cobra.Command {
	var file string
	var attributes client.Attributes
	cmd := &cobra.Command{
		Use:   "put KEY VALUE|- [flags]",
		Short: "Store a value under a key",
		Long: `Put stores a value of any bytes under a key. The value is the second argument, all
of standard input if that is "-", or a file's contents with --file. With --ttl the key
expires after that time, by the clock of the cluster; a put without it removes the
deadline that the key has. With --lease the key is deleted when that lease ends; a put
without it detaches the key from the lease that it has.

A write whose answer was lost is reported as "outcome unknown" and not sent
again: it happened once or not at all.`,
		Example: `  kvorum put greeting hello
  date | kvorum put started -
  kvorum put logo --file logo.png
  kvorum put session/7 alice --ttl 30m
  kvorum put worker/7 10.0.0.7 --lease 00000000000004d2`,
		Args: rangeArgs(1, 2),
	}
	cmd.Flags().StringVar(&file, "file", "", "file that holds the value")
	cmd.Flags().Var((*ttlFlag)(&attributes.TTL), "ttl", ttlUsage)
	cmd.Flags().Var((*leaseFlag)(&attributes.Lease), "lease", "lease that the key is attached to, such as 00000000000004d2")
	addIdempotencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 2) == (file != "") {
			return usagef("give either a value or --file; use: %s", cmd.UseLine())
		}
		if args[0] == "" { // before the value is read
			return usagef("the key is empty")
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		value, err := putValue(cmd.InOrStdin(), file, args[1:])
		if err != nil {
			return err
		}
		written, err := c.PutWith(cmd.Context(), args[0], value, attributes)
		if err != nil {
			return err
		}
		verb := "replaced"
		if written.Created {
			verb = "created"
		}
		return printWritten(cmd.OutOrStdout(), verb, written)
	}
	return cmd
}

// printWritten prints the outcome of a write.
func printWritten(out io.Writer, verb string, written client.WriteResult) error {
	text := fmt.Sprintf("%s, revision %d", verb, written.Revision)
	if written.Deadline != 0 {
		text += ", expires " + api.FormatDeadline(written.Deadline)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// putValue returns the value of a put, from a file, standard input or the argument.
func putValue(stdin io.Reader, file string, args []string) ([]byte, error) {
	switch {
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readValue(file, f)
	case args[0] == "-":
		return readValue("standard input", stdin)
	}
	return []byte(args[0]), nil
}

// readValue reads all of r, up to the largest value that a server can be configured to accept.
func readValue(name string, r io.Reader) ([]byte, error) {
	value, err := io.ReadAll(io.LimitReader(r, api.MaxValueBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, reason(err))
	}
	if len(value) > api.MaxValueBytes {
		return nil, fmt.Errorf("%s: %w", name, errTooLarge)
	}
	return value, nil
}

// errTooLarge is returned for a value that no server accepts.
var errTooLarge = errors.New("is larger than 64 MiB, the most a value can have")
