package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func newTxnCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "txn FILE|- [flags]",
		Short: "Carry out a transaction",
		Long: `Txn carries out a transaction from a file, or from standard input for "-": JSON
with compares in "if", and operations in "then" and "else". It prints the results
as JSON. If a compare does not hold, "succeeded" is false, which is no error.

A transaction whose answer was lost is reported as "outcome unknown" and not sent
again: it happened once or not at all.`,
		Example: `  kvorum txn move.json
  echo '{"if":[{"key":"lock","exists":false}],"then":[{"put":{"key":"lock","value":"me"}}]}' | kvorum txn -`,
		Args: exactArgs(1),
	}
	addIdempotencyFlag(cmd)
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		transaction, err := readTxn(cmd.InOrStdin(), args[0])
		if err != nil {
			return err
		}
		results, err := c.Txn(cmd.Context(), transaction)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", results)
		return err
	}
	return cmd
}

// readTxn reads a transaction from a file, or from stdin if its name is "-".
func readTxn(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return readValue("standard input", stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readValue(name, f)
}
