package main

import (
	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/client"
)

// addIdempotencyFlag adds --idempotency-key, which makes the write of a command safe to repeat.
func addIdempotencyFlag(cmd *cobra.Command) {
	key := cmd.Flags().String("idempotency-key", "", "text that names this write, such as a UUID: it is carried out once, however often it is sent")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("idempotency-key") {
			cmd.SetContext(client.WithIdempotencyKey(cmd.Context(), *key))
		}
		return nil
	}
}
