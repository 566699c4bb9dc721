package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/wal"
)

// correctable is a reason to stop that a restart corrects.
func correctable() error {
	return fmt.Errorf("node stopped: %w", &cluster.DivergenceError{Index: 1})
}

// TestServer_Restarts ends a node for a reason that a restart corrects, and then for another
// one, or without a reason.
func TestServer_Restarts(t *testing.T) {
	broken := errors.New("broken")
	for _, want := range []error{nil, broken} {
		synctest.Test(t, func(t *testing.T) {
			runs := 0
			got := restarting(t.Context(), slog.New(slog.DiscardHandler), func() error {
				if runs++; runs < 3 {
					return correctable()
				}
				return want
			})
			if runs != 3 || !errors.Is(got, want) {
				t.Errorf("got %v after %d runs, want %v after 3", got, runs, want)
			}
		})
	}
}

// TestServer_RestartPausesGrow shows that a node that can't run is restarted at growing
// intervals, and quickly again once it has run for a while.
func TestServer_RestartPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		const failures, well = 15, 16
		var ended time.Time
		var pauses []time.Duration
		err := restarting(ctx, slog.New(slog.DiscardHandler), func() error {
			if !ended.IsZero() {
				pauses = append(pauses, time.Since(ended))
			}
			switch len(pauses) {
			case failures: // it runs well for once
				time.Sleep(settledRun)
			case well:
				cancel()
			}
			ended = time.Now()
			return correctable()
		})
		if err != nil || len(pauses) != well {
			t.Fatalf("got %v after %d restarts, want nil after %d", err, len(pauses), well)
		}
		if took := time.Since(ended); took != 0 {
			t.Errorf("a stop during a pause took %v", took)
		}
		bound := firstRestartPause
		for i, pause := range pauses[:failures] {
			if pause < bound/2 || pause > bound {
				t.Errorf("pause %d: got %v, want %v to %v", i, pause, bound/2, bound)
			}
			bound = min(2*bound, maxRestartPause)
		}
		if pauses[failures] > firstRestartPause {
			t.Errorf("after a good run: got a pause of %v, want at most %v", pauses[failures], firstRestartPause)
		}
	})
}

// An error that says what a newer version has written says what to do; others are as
// they were.
func TestServer_SaysToStartNewerBuild(t *testing.T) {
	const advice = "start that version, or a later one"
	for _, newer := range []error{
		&fsm.EntryError{Index: 7, Err: &fsm.VersionError{What: "command version", Version: 3, Supported: 2}},
		&fsm.VersionError{What: "operation 0x7", Supported: 2},
		&wal.VersionError{File: "wal/MANIFEST", Found: 9, Supported: 1},
	} {
		got := ofNewerBuild(fmt.Errorf("node stopped: %w", newer))
		if !errors.Is(got, newer) || !strings.Contains(got.Error(), advice) {
			t.Errorf("got %v, want advice", got)
		}
	}
	for _, other := range []error{
		errors.New("disk failed"), &wal.VersionError{File: "wal/MANIFEST", Found: 1, Supported: 2},
		&fsm.VersionError{What: "entry format", Version: 1, Supported: 2}, nil,
	} {
		if got := ofNewerBuild(other); got != other {
			t.Errorf("got %v, want %v", got, other)
		}
	}
}
