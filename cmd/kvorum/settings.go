package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A setting is a flag. Its value is, in this order: what the command line
// says, what the environment says, what the configuration file says, the
// flag's default.

// maxConfigBytes bounds a configuration file: 1 MiB.
const maxConfigBytes = 1 << 20

// configFlag names the flag that holds the configuration file's path.
const configFlag = "config"

// envName returns the variable that stands for a flag: data-dir is KVORUM_DATA_DIR.
func envName(flag string) string {
	return "KVORUM_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyVariables sets every flag that the command line does not from its variable.
func applyVariables(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) { errs = append(errs, applyVariable(flags, f)) })
	return errors.Join(errs...)
}

// applyVariable sets f from its variable unless the command line does. An empty
// variable counts as unset, since a composed environment can't leave one out.
func applyVariable(flags *pflag.FlagSet, f *pflag.Flag) error {
	value := os.Getenv(envName(f.Name))
	if f.Changed || value == "" || f.Name == "help" {
		return nil
	}
	if err := flags.Set(f.Name, value); err != nil {
		return usagef("%s: %w", envName(f.Name), valueError(f, value))
	}
	return nil
}

// applyFile sets every flag that neither the command line nor the environment
// does from the YAML file at path, whose keys are flag names. An unknown key
// and a value of the wrong type are errors that name file and key.
func applyFile(flags *pflag.FlagSet, path string) error {
	values, err := readConfig(path)
	if err != nil {
		return usagef("config file %s: %w", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f := flags.Lookup(name)
		if f == nil || f.Name == configFlag || f.Name == "help" {
			return usagef("config file %s: unknown key %q", path, name)
		}
		node := values[name]
		value, err := flagText(f, &node)
		if err != nil {
			return usagef("config file %s: key %q: %w", path, name, err)
		}
		if f.Changed {
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return usagef("config file %s: key %q: %w", path, name, valueError(f, value))
		}
	}
	return nil
}

// readConfig reads a YAML file that is one mapping, or empty.
func readConfig(path string) (map[string]yaml.Node, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfigBytes+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(data) > maxConfigBytes {
		return nil, fmt.Errorf("is larger than %d bytes", maxConfigBytes)
	}
	var values map[string]yaml.Node
	if err := yaml.Unmarshal(data, &values); err != nil {
		return nil, err
	}
	return values, nil
}

// flagText returns a configuration value as the flag's text, if it is of the flag's type.
func flagText(f *pflag.Flag, node *yaml.Node) (string, error) {
	want, tags := "a string", []string{"!!str"}
	switch f.Value.Type() {
	case "int":
		want, tags = "a whole number", []string{"!!int"}
	case "bool":
		want, tags = "true or false", []string{"!!bool"}
	case "duration":
		want = "a duration such as 10s"
	case "stringSlice":
		want = "a list of strings"
		if node.Kind == yaml.SequenceNode {
			return joinStrings(node, want)
		}
	}
	if node.Kind != yaml.ScalarNode || !slices.Contains(tags, node.ShortTag()) {
		return "", fmt.Errorf("line %d: want %s", node.Line, want)
	}
	return node.Value, nil
}

// joinStrings returns a sequence of strings as comma separated text.
func joinStrings(node *yaml.Node, want string) (string, error) {
	parts := make([]string, 0, len(node.Content))
	for _, n := range node.Content {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			return "", fmt.Errorf("line %d: want %s", n.Line, want)
		}
		parts = append(parts, n.Value)
	}
	return strings.Join(parts, ","), nil
}

// valueError says what a flag's value must be.
func valueError(f *pflag.Flag, value string) error {
	return fmt.Errorf("%q is not a valid %s", value, f.Value.Type())
}

// reason returns an error of a file call without its operation and path, for
// messages that name the path already.
func reason(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
