package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/api"
	"github.com/kvorum/kvorum/internal/testkit"
)

// settle combines command line, variables and file as server does.
func settle(t *testing.T, config string, args ...string) (serverOptions, error) {
	t.Helper()
	var o serverOptions
	cmd := &cobra.Command{Use: "server"}
	o.addFlags(cmd)
	if config != "" {
		path := filepath.Join(t.TempDir(), "kvorum.yaml")
		writeFile(t, path, config)
		args = append(args, "--config", path)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return o, o.settle(cmd.Flags())
}

func TestSettings_Precedence(t *testing.T) {
	for _, tc := range []struct {
		name                string
		file, variable, arg string
		want                string
	}{
		{"default", "", "", "", "info"},
		{"file", "warn", "", "", "warn"},
		{"variable", "", "error", "", "error"},
		{"variable over file", "warn", "error", "", "error"},
		{"command line", "", "", "debug", "debug"},
		{"command line over file", "warn", "", "debug", "debug"},
		{"command line over all", "warn", "error", "debug", "debug"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("KVORUM_LOG_LEVEL", tc.variable) // empty is unset
			config, args := "", []string{"--id", "n1", "--data-dir", "d"}
			if tc.file != "" {
				config = "log-level: " + tc.file
			}
			if tc.arg != "" {
				args = append(args, "--log-level", tc.arg)
			}
			o, err := settle(t, config, args...)
			if err != nil || o.logLevel != tc.want {
				t.Errorf("got %q, %v, want %q", o.logLevel, err, tc.want)
			}
		})
	}
}

func TestSettings_EveryType(t *testing.T) {
	config := `
id: n1
data-dir: /data
bootstrap-expect: 3
max-value-bytes: 1024
join:
  - a:1
  - b:2
`
	o, err := settle(t, config)
	if err != nil || o.id != "n1" || o.dataDir != "/data" || o.bootstrapExpect != 3 || o.maxValueBytes != 1024 || !slices.Equal(o.join, []string{"a:1", "b:2"}) {
		t.Errorf("from a file: got %+v, %v", o, err)
	}
	if o, err := settle(t, "id: n1\ndata-dir: d\njoin: a:1,b:2"); err != nil || !slices.Equal(o.join, []string{"a:1", "b:2"}) {
		t.Errorf("a list as text: got %q, %v", o.join, err)
	}
	t.Setenv("KVORUM_JOIN", "c:3,d:4")
	t.Setenv("KVORUM_BOOTSTRAP_EXPECT", "5")
	if o, err := settle(t, config); err != nil || o.bootstrapExpect != 5 || !slices.Equal(o.join, []string{"c:3", "d:4"}) {
		t.Errorf("variables over a file: got %+v, %v", o, err)
	}
	if o, err := settle(t, config, "--join", "e:5", "--join", "f:6,g:7"); err != nil || !slices.Equal(o.join, []string{"e:5", "f:6", "g:7"}) {
		t.Errorf("repeated flags over variables: got %q, %v", o.join, err)
	}
}

// sample returns a value for a flag, other than its default, as text and as YAML.
func sample(t *testing.T, f *pflag.Flag) (text, inFile string) {
	t.Helper()
	switch f.Value.Type() {
	case "string":
		return "text of " + f.Name, `"text of ` + f.Name + `"`
	case "bool":
		text = map[string]string{"true": "false", "false": "true"}[f.DefValue]
		return text, text
	case "int", "int64", "uint", "uint64":
		return "7654321", "7654321"
	case "float64":
		return "0.125", "0.125"
	case "duration":
		return "1h30m0s", "90m"
	case "stringSlice":
		return "a:1,b:2", "[a:1, b:2]"
	}
	t.Fatalf("--%s is a %s: this test needs a value of that type", f.Name, f.Value.Type())
	return "", ""
}

// TestTrial_X1_EveryFlagEveryWay sets each flag of server on the command line, by its
// variable, and by its key in the file.
func TestTrial_X1_EveryFlagEveryWay(t *testing.T) {
	count, types := 0, make(map[string]bool)
	names := newServerCommand()
	names.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == configFlag || f.Name == "help" {
			return
		}
		count++
		types[f.Value.Type()] = true
		text, inFile := sample(t, f)
		ways := map[string]func(flags *pflag.FlagSet) error{
			"flag": func(flags *pflag.FlagSet) error { return flags.Parse([]string{"--" + f.Name + "=" + text}) },
			"variable": func(flags *pflag.FlagSet) error {
				t.Setenv(envName(f.Name), text)
				defer os.Unsetenv(envName(f.Name))
				return applyVariables(flags)
			},
			"key": func(flags *pflag.FlagSet) error {
				path := filepath.Join(t.TempDir(), "kvorum.yaml")
				writeFile(t, path, f.Name+": "+inFile+"\n")
				return applyFile(flags, path)
			},
		}
		var want string
		for _, way := range []string{"flag", "variable", "key"} {
			flags := newServerCommand().Flags()
			if err := ways[way](flags); err != nil {
				t.Errorf("--%s (%s) as a %s: %v", f.Name, f.Value.Type(), way, err)
				continue
			}
			got := flags.Lookup(f.Name).Value.String()
			if way == "flag" {
				want = got
			}
			if got != want || got == f.DefValue {
				t.Errorf("--%s as a %s: got %q, want %q", f.Name, way, got, want)
			}
		}
	})
	if o, err := settle(t, "id: n1\ndata-dir: d\nballast-bytes: 0"); err != nil || o.ballastBytes != 0 {
		t.Errorf("ballast-bytes: 0: got %d, %v", o.ballastBytes, err)
	}
	testkit.Outcome(t, "X1", "each of %d flags of %d types works as flag, KVORUM_ variable and YAML key", count, len(types))
}

// TestSettings_ClientVariables checks that each client command uses the variables that its
// help names.
func TestSettings_ClientVariables(t *testing.T) {
	t.Setenv("KVORUM_ENDPOINTS", "a:1,b:2")
	t.Setenv("KVORUM_TIMEOUT", "17s")
	for _, cmd := range newRootCommand().Commands() {
		if cmd.Flags().Lookup("endpoints") == nil || cmd.Name() == "server" {
			continue
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			_, named, ok := strings.Cut(f.Usage, "(or KVORUM_")
			if ok && "KVORUM_"+strings.TrimSuffix(named, ")") != envName(f.Name) {
				t.Errorf("%s --%s names KVORUM_%s", cmd.Name(), f.Name, named)
			}
		})
	}
	probe := &cobra.Command{Use: "probe"}
	f := addClientFlags(probe, time.Second)
	if _, err := f.open(probe); err != nil || f.timeout != 17*time.Second || !slices.Equal(f.endpoints, []string{"a:1", "b:2"}) {
		t.Errorf("got %+v, %v", f, err)
	}
}

// TestSettings_ConfigFromVariable checks that the file itself can be named by a variable.
func TestSettings_ConfigFromVariable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	writeFile(t, path, "id: from-file\ndata-dir: d\n")
	t.Setenv("KVORUM_CONFIG", path)
	if o, err := settle(t, ""); err != nil || o.id != "from-file" {
		t.Errorf("got %q, %v, want from-file", o.id, err)
	}
}

func TestSettings_BadFile(t *testing.T) {
	for _, tc := range []struct{ name, config, part string }{
		{"unknown key", "id: n1\nbootstrap: 3", `unknown key "bootstrap"`},
		{"config in config", "config: other.yaml", `unknown key "config"`},
		{"misspelled key", "id: n1\n\ndata_dir: d", `line 3: unknown key "data_dir"; did you mean "data-dir"?`},
		{"number for a string", "id: 1", `key "id": line 1: want a string: put it in quotes`},
		{"no duration", "id: n1\ndead-server-after: 5", `key "dead-server-after": line 2: "5" is not a valid duration: want a duration such as 10s`},
		{"text for a large number", "ballast-bytes: 64MiB", `key "ballast-bytes": line 1: want a whole number`},
		{"string for a number", "bootstrap-expect: three", `key "bootstrap-expect": line 1: want a whole number`},
		{"fraction", "bootstrap-expect: 1.5", "want a whole number"},
		{"huge number", "bootstrap-expect: 99999999999999999999", "bootstrap-expect"},
		{"list for a string", "id: [a]", "want a string"},
		{"mapping in a list", "join: [{a: 1}]", "want a list of strings"},
		{"nothing", "id:", "want a string"},
		{"twice", "id: a\nid: b", "already defined"},
		{"no mapping", "- id", "kvorum.yaml"},
		{"no YAML", "\t{", "kvorum.yaml"},
		{"too large", "# " + strings.Repeat("x", maxConfigBytes), "is larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kvorum.yaml")
			writeFile(t, path, tc.config)
			r := runKvorum(t, "", "server", "--config", path)
			wantFailure(t, r, exitUsage, tc.part)
			if !strings.Contains(r.stderr, path) {
				t.Errorf("got %q, want it to name the file", r.stderr)
			}
		})
	}
	wantFailure(t, runKvorum(t, "", "server", "--config", "/nonexistent/c.yaml"), exitUsage, "config file /nonexistent/c.yaml: no such file or directory")
}

// TestServer_BadSettings checks that wrong settings are refused before anything is opened.
func TestServer_BadSettings(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string // after --id and --data-dir
		part string
	}{
		{"expect without join", []string{"--bootstrap-expect", "3"}, "--bootstrap-expect 3 needs --join"},
		{"negative expect", []string{"--bootstrap-expect=-1"}, "--bootstrap-expect -1 is not between 0 and 15"},
		{"value limit", []string{"--max-value-bytes", "67108865"}, "--max-value-bytes 67108865"},
		{"no value limit", []string{"--max-value-bytes", "0"}, "--max-value-bytes 0 must"},
		{"key limit", []string{"--max-key-bytes", "4097"}, "--max-key-bytes 4097"},
		{"snapshot rate", []string{"--snapshot-bytes-per-second", "1000"}, "--snapshot-bytes-per-second 1000"},
		{"window of one", []string{"--pipeline-window", "1"}, "--pipeline-window 1"},
		{"window too large", []string{"--pipeline-window", "9"}, "--pipeline-window 9"},
		{"unknown commands", []string{"--max-command-version", "200"}, "--max-command-version 200 is not between 0 and"},
		{"negative commands", []string{"--max-command-version=-1"}, "--max-command-version -1"},
		{"log format", []string{"--log-format", "xml"}, "--log-format"},
		{"log level", []string{"--log-level", "loud"}, "--log-level"},
		{"timing", []string{"--timing", "fast"}, "--timing"},
		{"dead servers too soon", []string{"--dead-server-after", "59s"}, "--dead-server-after 59s is less than 1m0s"},
		{"negative dead servers", []string{"--dead-server-after=-1h"}, "--dead-server-after"},
		{"non-voter that bootstraps", []string{"--non-voter", "--bootstrap-expect", "1"}, "--non-voter does not go together with bootstrap-expect"},
		{"no port", []string{"--http-addr", "127.0.0.1"}, `--http-addr "127.0.0.1" is not host:port`},
		{"named port", []string{"--peer-addr", "127.0.0.1:http"}, "--peer-addr"},
		{"port too large", []string{"--gossip-addr", "127.0.0.1:65536"}, "--gossip-addr"},
		{"all interfaces", []string{"--http-addr", "0.0.0.0:8001"}, "set --advertise-http-addr"},
		{"all interfaces, IPv6", []string{"--peer-addr", "[::]:7001"}, "set --advertise-peer-addr"},
		{"all interfaces, no host", []string{"--gossip-addr", ":6001"}, "set --advertise-gossip-addr"},
		{"advertised to all", []string{"--advertise-http-addr", "0.0.0.0:1"}, "--advertise-http-addr"},
		{"advertised port 0", []string{"--advertise-peer-addr", "h:0"}, "--advertise-peer-addr"},
		{"same address", []string{"--peer-addr", "127.0.0.1:8001"}, "--http-addr and --peer-addr are both"},
		{"same port", []string{"--gossip-addr", "0.0.0.0:7001", "--advertise-gossip-addr", "h:1"}, "--peer-addr and --gossip-addr"},
		{"bad join", []string{"--join", "a:1,b"}, `--join "b"`},
		{"bad id", []string{"--id", "a.b", "--http-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0"}, "id: "},
		{"no id", []string{"--id", ""}, "--id is required"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			args := append([]string{"server", "--id", "n1", "--data-dir", dir}, tc.args...)
			wantFailure(t, runKvorum(t, "", args...), exitUsage, tc.part)
			if m, _ := filepath.Glob(dir); m != nil {
				t.Error("the data directory was made")
			}
		})
	}
	t.Setenv("KVORUM_MAX_VALUE_BYTES", "1MB")
	wantFailure(t, runKvorum(t, "", "server", "--id", "n1", "--data-dir", "d"), exitUsage, "KVORUM_MAX_VALUE_BYTES: \"1MB\" is not a valid int: want a whole number")
}

// TestSettings_LargestValue shows that clients can read the largest value that a node may be
// configured to accept.
func TestSettings_LargestValue(t *testing.T) {
	if api.MaxValueBytes != cluster.LimitMaxValueBytes {
		t.Errorf("clients read %d bytes, a node takes up to %d", api.MaxValueBytes, cluster.LimitMaxValueBytes)
	}
}
