package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/kv"
)

func newSettingsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings [NAME=VALUE...] [flags]",
		Short: "Show or change the settings of the cluster",
		Long: `Settings shows the settings of the whole cluster, and in parentheses what applies where
none is set. With arguments it changes those that are named, and leaves the others;
"NAME=" restores a default. Two changes at the same time may overwrite each other.

  history.max_age        how long past revisions can be read, such as 1h
  history.max_revisions  how many past revisions can be read
  history.max_bytes      how much memory superseded values may take
  max_key_bytes          limit of a key
  max_value_bytes        limit of the values of a request
  max_request_ops        limit of the operations of a request
  idempotency.window     how long the answer to a request with an idempotency key is kept
  idempotency.max_keys   how many such answers are kept
  idempotency.max_bytes  how much memory they may take
  quota.max_keys         how many keys there may be
  quota.max_bytes        how many bytes keys, values and attributes may have
  quota.eviction         which keys are removed for writes that need room: none, lru, lfu,
                         random, or ttl, those that expire first
  quota.protected_prefixes
                         prefixes of keys that are never removed so, with commas between`,
		Example: `  kvorum settings
  kvorum settings history.max_age=1h max_request_ops=256
  kvorum settings max_request_ops=`,
	}
	flags := addClientFlags(cmd, adminTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var changes kv.Settings
		for _, arg := range args { // before anything is asked
			if err := setSetting(&changes, arg); err != nil {
				return err
			}
		}
		c, err := flags.open(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		settings, err := c.Settings(cmd.Context())
		if err != nil {
			return err
		}
		if len(args) > 0 {
			for _, arg := range args {
				_ = setSetting(&settings, arg) // nil, as above
			}
			if settings, err = c.SetSettings(cmd.Context(), settings); err != nil {
				return err
			}
		}
		return printSettings(cmd.OutOrStdout(), settings)
	}
	return cmd
}

// setting is a setting of the cluster.
type setting struct {
	name  string
	unset string // what applies if its text is ""
	text  func(s *kv.Settings) string
	set   func(s *kv.Settings, text string) error
}

// clusterSettings are all settings, in the order in which they are shown.
var clusterSettings = []setting{
	{
		"history.max_age", kv.DefaultHistoryAge.String(),
		func(s *kv.Settings) string { return textUnless(s.History.MaxAge == 0, s.History.MaxAge) },
		func(s *kv.Settings, text string) (err error) {
			s.History.MaxAge, err = time.ParseDuration(text)
			return err
		},
	},
	{
		"history.max_revisions", "unlimited",
		func(s *kv.Settings) string { return textUnless(s.History.MaxRevisions == 0, s.History.MaxRevisions) },
		func(s *kv.Settings, text string) (err error) {
			s.History.MaxRevisions, err = strconv.ParseUint(text, 10, 50)
			return err
		},
	},
	largeSetting("history.max_bytes", func(s *kv.Settings) *int64 { return &s.History.MaxBytes }, kv.DefaultHistoryBytes),
	limitSetting("max_key_bytes", func(s *kv.Settings) *int { return &s.MaxKeyBytes }, "that of each node"),
	limitSetting("max_value_bytes", func(s *kv.Settings) *int { return &s.MaxValueBytes }, "that of each node"),
	limitSetting("max_request_ops", func(s *kv.Settings) *int { return &s.MaxRequestOps }, strconv.Itoa(kv.MaxRequestOps)),
	{
		"idempotency.window", kv.DefaultIdempotencyWindow.String(),
		func(s *kv.Settings) string { return textUnless(s.Idempotency.Window == 0, s.Idempotency.Window) },
		func(s *kv.Settings, text string) (err error) {
			s.Idempotency.Window, err = time.ParseDuration(text)
			return err
		},
	},
	largeSetting("idempotency.max_keys", func(s *kv.Settings) *int64 { return &s.Idempotency.MaxKeys }, kv.DefaultIdempotencyKeys),
	largeSetting("idempotency.max_bytes", func(s *kv.Settings) *int64 { return &s.Idempotency.MaxBytes }, kv.DefaultIdempotencyBytes),
	quotaSetting("quota.max_keys", func(s *kv.Settings) *int64 { return &s.Quota.MaxKeys }),
	quotaSetting("quota.max_bytes", func(s *kv.Settings) *int64 { return &s.Quota.MaxBytes }),
	{
		"quota.eviction", kv.EvictionNone.String(),
		func(s *kv.Settings) string { return textUnless(s.Quota.Eviction == kv.EvictionNone, s.Quota.Eviction) },
		setEviction,
	},
	{
		"quota.protected_prefixes", "none",
		func(s *kv.Settings) string { return strings.Join(s.Quota.ProtectedPrefixes, ",") },
		func(s *kv.Settings, text string) error {
			if s.Quota.ProtectedPrefixes = nil; text != "0" { // the default
				s.Quota.ProtectedPrefixes = strings.Split(text, ",")
			}
			return nil
		},
	},
}

// setEviction sets the policy of eviction; "0" is the default.
func setEviction(s *kv.Settings, text string) error {
	e, known := kv.EvictionOf(text)
	if s.Quota.Eviction = e; !known && text != "0" {
		return errors.New("no such policy")
	}
	return nil
}

// quotaSetting returns a setting that is a limit of the data.
func quotaSetting(name string, field func(s *kv.Settings) *int64) setting {
	limit := largeSetting(name, field, 0)
	limit.unset = "unlimited"
	return limit
}

// largeSetting returns a setting that is a number which may have 64 bits.
func largeSetting(name string, field func(s *kv.Settings) *int64, unset int) setting {
	return setting{
		name, strconv.Itoa(unset),
		func(s *kv.Settings) string { return textUnless(*field(s) == 0, *field(s)) },
		func(s *kv.Settings, text string) (err error) {
			*field(s), err = strconv.ParseInt(text, 10, 64)
			return err
		},
	}
}

// limitSetting returns a setting that is a limit of requests.
func limitSetting(name string, field func(s *kv.Settings) *int, unset string) setting {
	return setting{
		name, unset,
		func(s *kv.Settings) string { return textUnless(*field(s) == 0, *field(s)) },
		func(s *kv.Settings, text string) (err error) {
			*field(s), err = strconv.Atoi(text)
			return err
		},
	}
}

// textUnless returns value as text, "" if it is not set.
func textUnless(unset bool, value any) string {
	if unset {
		return ""
	}
	return fmt.Sprint(value)
}

// setSetting sets the setting of an argument, NAME=VALUE.
func setSetting(s *kv.Settings, arg string) error {
	name, text, given := strings.Cut(arg, "=")
	var names []string
	for _, known := range clusterSettings {
		names = append(names, known.name)
		switch {
		case known.name != name:
			continue
		case !given:
			return usagef("%s needs a value: %s=VALUE, or %s= for the default", name, name, name)
		case text == "":
			text = "0"
		}
		if err := known.set(s, text); err != nil {
			return usagef("%s: %q is not a valid value", name, text)
		}
		return nil
	}
	return usagef("%q is no setting; there are: %s", name, strings.Join(names, ", "))
}

// settingsText describes the settings that are set, on one line.
func settingsText(s *kv.Settings) string {
	var parts []string
	for _, known := range clusterSettings {
		if text := known.text(s); text != "" {
			parts = append(parts, known.name+"="+text)
		}
	}
	return strings.Join(parts, " ")
}

// printSettings prints all settings.
func printSettings(out io.Writer, s kv.Settings) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, known := range clusterSettings {
		text := known.text(&s)
		if text == "" {
			text = "(" + known.unset + ")"
		}
		fmt.Fprintf(w, "%s\t%s\n", known.name, text)
	}
	return w.Flush()
}
