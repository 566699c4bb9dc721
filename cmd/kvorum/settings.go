package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A setting is a flag. Its value comes from the first of these that has one: the command
// line, the environment, the configuration file, the flag's default.

// maxConfigBytes is the maximum size of a configuration file: 1 MiB.
const maxConfigBytes = 1 << 20

// configFlag is the name of the flag with the configuration file's path.
const configFlag = "config"

// envName returns the variable that sets a flag: data-dir is KVORUM_DATA_DIR.
func envName(flag string) string {
	return "KVORUM_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyVariables sets every flag that the command line has not set from its variable.
func applyVariables(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) { errs = append(errs, applyVariable(flags, f)) })
	return errors.Join(errs...)
}

// applyVariable sets f from its variable unless the command line has set it. An empty
// variable counts as unset, since some tools that make an environment can't omit one.
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

// applyFile sets every flag that neither the command line nor the environment has set from
// the YAML file at path, whose keys are flag names. An unknown key and a value of the wrong
// type are errors that name file, line and key, and the type that is expected.
func applyFile(flags *pflag.FlagSet, path string) error {
	entries, err := readConfig(path)
	if err != nil {
		return usagef("config file %s: %w", path, err)
	}
	for _, e := range entries {
		f := flags.Lookup(e.key)
		if f == nil || f.Name == configFlag || f.Name == "help" {
			return usagef("config file %s: line %d: unknown key %q%s", path, e.line, e.key, nearFlag(flags, e.key))
		}
		value, err := flagText(f, &e.value)
		if err == nil && !f.Changed {
			if flags.Set(f.Name, value) != nil {
				err = fmt.Errorf("line %d: %w", e.value.Line, valueError(f, value))
			}
		}
		if err != nil {
			return usagef("config file %s: key %q: %w", path, e.key, err)
		}
	}
	return nil
}

// nearFlag suggests the flag with a similar name.
func nearFlag(flags *pflag.FlagSet, key string) string {
	name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(key, "KVORUM_"), "_", "-"))
	if f := flags.Lookup(name); f != nil {
		return fmt.Sprintf("; did you mean %q?", name)
	}
	return "; keys are the names of flags, see \"kvorum server --help\""
}

// configEntry is one line of a configuration file.
type configEntry struct {
	key   string
	line  int // of the key
	value yaml.Node
}

// readConfig reads a YAML file that is one mapping, or empty.
func readConfig(path string) ([]configEntry, error) {
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
	var values map[string]yaml.Node // refuses a key given twice, and a file that is no mapping
	if err := yaml.Unmarshal(data, &values); err != nil {
		return nil, err
	}
	var document yaml.Node // knows the lines of keys
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	lines := make(map[string]int)
	if len(document.Content) == 1 {
		for i := 0; i+1 < len(document.Content[0].Content); i += 2 {
			key := document.Content[0].Content[i]
			lines[key.Value] = key.Line
		}
	}
	var entries []configEntry
	for key, value := range values {
		entries = append(entries, configEntry{key, lines[key], value})
	}
	slices.SortFunc(entries, func(a, b configEntry) int { return cmp.Or(a.line-b.line, strings.Compare(a.key, b.key)) })
	return entries, nil
}

// wanted returns a description of the values of a flag type, and the tags of the YAML
// scalars that may be such a value. An unknown type accepts any scalar: its own Set decides.
func wanted(flagType string) (words string, tags []string) {
	switch {
	case flagType == "string":
		return "a string", []string{"!!str"}
	case flagType == "bool":
		return "true or false", []string{"!!bool"}
	case flagType == "duration":
		return "a duration such as 10s", []string{"!!str", "!!int"} // 0 needs no unit
	case strings.HasSuffix(flagType, "Slice"), strings.HasSuffix(flagType, "Array"):
		return "a list of strings", []string{"!!str"}
	case strings.HasPrefix(flagType, "int"), strings.HasPrefix(flagType, "uint"):
		return "a whole number", []string{"!!int"}
	case strings.HasPrefix(flagType, "float"):
		return "a number", []string{"!!int", "!!float"}
	}
	return "a " + flagType, []string{"!!str", "!!int", "!!float", "!!bool"}
}

// flagText returns a configuration value as the flag's text, if it is of the flag's type.
func flagText(f *pflag.Flag, node *yaml.Node) (string, error) {
	want, tags := wanted(f.Value.Type())
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if _, isList := f.Value.(pflag.SliceValue); isList && node.Kind == yaml.SequenceNode {
		return joinStrings(node, want)
	}
	if node.Kind != yaml.ScalarNode || !slices.Contains(tags, node.ShortTag()) {
		if node.Kind == yaml.ScalarNode && f.Value.Type() == "string" && node.ShortTag() != "!!null" {
			want += ": put it in quotes"
		}
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

// valueError returns the error of a wrong value, with a description of the values of f.
func valueError(f *pflag.Flag, value string) error {
	want, _ := wanted(f.Value.Type())
	return fmt.Errorf("%q is not a valid %s: want %s", value, f.Value.Type(), want)
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
