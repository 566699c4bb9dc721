package versus

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// quick is a Config for tests.
func quick(t *testing.T) Config {
	kvorum := Kvorum("kvorum", "devel")
	return Config{
		Contenders: [2]Contender{kvorum, kvorum}, Rounds: 1, Writers: 2, Timeout: 10 * time.Second,
		Steady: 50 * time.Millisecond, During: 50 * time.Millisecond, Settle: 10 * time.Millisecond, Say: t.Logf,
	}
}

func TestStage_Faults(t *testing.T) {
	want := map[string][]string{
		"kill of a follower":      {"kill n3", "start n3"},
		"kill of the leader":      {"kill n1", "start n1"},
		"pause of the leader":     {"pause n1", "resume n1"},
		"partition of a follower": {"cut n3 n2", "cut n2 n3", "cut n3 n1", "cut n1 n3", "heal"},
		"partition of the leader": {"cut n1 n2", "cut n2 n1", "cut n1 n3", "cut n3 n1", "heal"},
		"5 % loss": {
			"lose n2 n3 0.05", "lose n2 n1 0.05", "lose n3 n2 0.05", "lose n3 n1 0.05", "lose n1 n2 0.05", "lose n1 n3 0.05", "heal",
		},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			l := newFakeLab(t)
			cfg := quick(t)
			got, err := newStage(cfg, cfg.Contenders[0], l, 1).try(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if done := l.took(); !slices.Equal(done, want[f.name]) {
				t.Errorf("done was %q, want %q", done, want[f.name])
			}
			if !got.served || got.before <= 0 || got.during <= 0 || got.without <= 0 || got.led != "n1" || got.leads != "n1" {
				t.Errorf("the trial is %+v", got)
			}
		})
	}
	if len(want) != len(faults) {
		t.Errorf("%d faults, want %d", len(faults), len(want))
	}
}

func TestPerform_FaultNotMade(t *testing.T) {
	cfg := quick(t)
	r := &Result{cfg: cfg, rows: []row{{fault: "pause of the leader"}, {fault: "kill of the leader"}}}
	for which := range 2 {
		l := newFakeLab(t)
		l.refuse = "pause"
		if err := r.perform(t.Context(), newStage(cfg, cfg.Contenders[which], l, 0), which); err != nil {
			t.Fatal(err)
		}
		if done := l.took(); which == 0 && !slices.Contains(done, "resume n1") {
			t.Errorf("what may have been made by half is not healed: %q", done)
		}
	}
	if r.rows[0].missing == "" || !strings.Contains(r.rows[0].missing, errRefused.Error()) {
		t.Errorf("the row without a fault is missing for %q", r.rows[0].missing)
	}
	if r.rows[1].missing != "" || len(r.rows[1].trials[0]) != 1 || len(r.rows[1].trials[1]) != 1 {
		t.Errorf("the other row is %+v", r.rows[1])
	}
	if r.Complete() {
		t.Error("the result is complete")
	}
}

func TestPerform_EndedByItself(t *testing.T) {
	cfg := quick(t)
	l := newFakeLab(t)
	l.exits <- lab.Exit{Host: l.hosts[1], Code: 2, Log: "panic"}
	r := &Result{cfg: cfg, rows: []row{{fault: "kill of the leader"}}}
	err := r.perform(t.Context(), newStage(cfg, cfg.Contenders[0], l, 0), 0)
	if err == nil || !strings.Contains(err.Error(), "n2 ended by itself") {
		t.Errorf("error %v, want that n2 ended by itself", err)
	}
}

func TestPerform_Canceled(t *testing.T) {
	cfg := quick(t)
	cfg.During = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	l := newFakeLab(t)
	r := &Result{cfg: cfg, rows: []row{{fault: "5 % loss"}}}
	ended := make(chan error, 1)
	go func() { ended <- r.perform(ctx, newStage(cfg, cfg.Contenders[0], l, 0), 0) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if r.rows[0].missing != "" {
		t.Errorf("a run that was ended says that a fault could not be made: %s", r.rows[0].missing)
	}
}

// TestStage_NobodyLeads runs a first trial without a leader before its fault.
func TestStage_NobodyLeads(t *testing.T) {
	cfg := quick(t)
	l := newFakeLab(t)
	asked := 0
	leads := Kvorum("", "").leads
	cfg.Contenders[0].leads = func(ctx context.Context, client *http.Client, url string) (bool, error) {
		if asked++; asked > nodes && asked <= 2*nodes { // questions before the first fault
			return false, nil
		}
		return leads(ctx, client, url)
	}
	got, err := newStage(cfg, cfg.Contenders[0], l, 0).tryUntilMade(t.Context(), find("kill of the leader"))
	if err != nil || got.led != "n1" {
		t.Errorf("the trial is %+v, error %v", got, err)
	}
	if done := l.took(); !slices.Equal(done, []string{"kill n1", "start n1"}) {
		t.Errorf("done was %q, want one kill and one start", done)
	}
}
