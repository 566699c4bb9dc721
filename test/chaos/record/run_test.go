package record_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// good returns a run that covers something, and has broken no promise.
func good() *record.Run {
	return &record.Run{
		Seconds: []record.Second{{Acknowledged: 1}},
		Faults:  []record.Fault{{Name: "kill one", Done: true}},
		Checks:  []record.Check{{Name: "order", Of: "1 key", Passed: true}},
	}
}

// TestRun_Passed shows that a run passes only if it covers everything and has broken no
// promise.
func TestRun_Passed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*record.Run)
		passed bool
		broken bool
		gap    string // part of the reason for one gap
	}{
		{"Good", func(*record.Run) {}, true, false, ""},
		{"Empty", func(r *record.Run) { *r = record.Run{} }, false, false, "nothing was checked"},
		{"NoWrite", func(r *record.Run) { r.Seconds[0].Acknowledged = 0 }, false, false, "no write was acknowledged"},
		{"NoCheck", func(r *record.Run) { r.Checks = nil }, false, false, "nothing was checked"},
		{"FailedCheck", func(r *record.Run) { r.Checks[0].Passed = false }, false, true, ""},
		{"Violation", func(r *record.Run) { r.Violations = make([]record.Violation, 1) }, false, true, ""},
		{"KeyWithoutOrder", func(r *record.Run) { r.Keys = make([]record.Key, 1) }, false, true, ""},
		{"FaultNotMade", func(r *record.Run) { r.Faults[0].Done, r.Faults[0].Reason = false, "no strace" }, false, false, "no strace"},
		{"Uncovered", func(r *record.Run) { r.Uncovered = []record.Uncovered{{What: "x", Reason: "few writes"}} }, false, false, "few writes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := good()
			c.change(run)
			if got := run.Passed(); got != c.passed {
				t.Errorf("Passed() = %v, want %v", got, c.passed)
			}
			if got := run.Broken(); got != c.broken {
				t.Errorf("Broken() = %v, want %v", got, c.broken)
			}
			var reasons []string
			for _, gap := range run.Gaps() {
				reasons = append(reasons, gap.Reason)
			}
			if got := strings.Join(reasons, "; "); !strings.Contains(got, c.gap) || (c.gap == "") != (got == "") {
				t.Errorf("gaps: %q, want %q", got, c.gap)
			}
		})
	}
}

// TestRun_GapsOnce shows that a fault which was reported as uncovered is counted once.
func TestRun_GapsOnce(t *testing.T) {
	run := good()
	run.Faults = []record.Fault{{Name: "kill one"}, {Name: "kill one"}, {Name: "fill a disk"}}
	run.Uncovered = []record.Uncovered{{What: "fault fill a disk", Reason: "no tmpfs"}}
	if got := len(run.Gaps()); got != 2 {
		t.Errorf("%d gaps, want 2: %v", got, run.Gaps())
	}
}

// TestRead shows that a file without a record gives an error that names the file.
func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	if _, err := record.Read(path); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]*record.Run{`{"seed":7,"nodes":3}`: {Seed: 7, Nodes: 3}, `{`: nil} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := record.Read(path)
		if !reflect.DeepEqual(got, want) || (err != nil && !strings.Contains(err.Error(), path)) {
			t.Errorf("Read(%s) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}
