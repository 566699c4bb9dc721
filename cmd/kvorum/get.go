package main

import "github.com/spf13/cobra"

func newGetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get KEY [flags]",
		Short: "Print the value of a key",
		Long: `Get writes the value's bytes to standard output, and nothing else. A key that
does not exist is an error with exit code 1.`,
		Example: `  kvorum get greeting
  kvorum get logo > logo.png
  kvorum get greeting --consistency stale --max-stale 5s --endpoints 127.0.0.1:8002
  kvorum get greeting --consistency stale --min-revision 42`,
		Args: exactArgs(1),
	}
	reads := addReadFlags(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkKey(args[0]); err != nil {
			return err
		}
		query, err := reads.query()
		if err != nil {
			return err
		}
		c, err := flags.open(cmd, 1)
		if err != nil {
			return err
		}
		defer c.close()
		value, err := c.get(cmd.Context(), args[0], query)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(value)
		return err
	}
	return cmd
}
