package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get KEY [flags]",
		Short: "Print the value of a key",
		Long: `Get writes the value's bytes to standard output, and nothing else, unless -o asks
for the versions of the key, and for its deadline and the time that is left, too. A key that does not exist is an error with exit
code 1.`,
		Example: `  kvorum get greeting
  kvorum get logo > logo.png
  kvorum get greeting --consistency stale --max-stale 5s --endpoints 127.0.0.1:8002
  kvorum get greeting --consistency stale --min-revision 42
  kvorum get greeting --revision 40 -o json`,
		Args: exactArgs(1),
	}
	output := addOutputFlag(cmd, outputRaw)
	reads := addReadFlags(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		options, err := reads.options()
		if err != nil {
			return err
		}
		out, err := output.open(cmd.OutOrStdout(), true)
		if err != nil {
			return err
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		read, err := c.Get(cmd.Context(), args[0], options)
		if err != nil {
			return err
		}
		if output.format == outputRaw {
			_, err = cmd.OutOrStdout().Write(read.Value)
			return err
		}
		return errors.Join(out.item(itemOf(args[0], read), read.TTL), out.close())
	}
	return cmd
}
