package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	"github.com/spf13/cobra"

	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// oldReads is the number of reads of a key at old revisions in a measurement.
const oldReads = 10_000

// history measures what superseded versions cost the state machine.
type history struct {
	rounds     int
	keys       int // and superseded versions
	valueBytes int
	out        io.Writer
}

func newHistoryCommand() *cobra.Command {
	var h history
	var dir string
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Measure the history of the state machine: memory, snapshots, compaction, old revisions, transactions",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory that is described (default the one for temporary files)")
	cmd.Flags().IntVar(&h.rounds, "rounds", 5, "turns, 1 or more")
	cmd.Flags().IntVar(&h.keys, "keys", 1_000_000, "keys, and superseded versions")
	cmd.Flags().IntVar(&h.valueBytes, "value-bytes", 100, "size of a value")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h.out = cmd.OutOrStdout()
		if h.rounds < 1 || h.keys < entryCommands || h.valueBytes < 0 {
			return fmt.Errorf("rounds %d, keys %d, value-bytes %d: too small", h.rounds, h.keys, h.valueBytes)
		}
		return withDir(dir, func(dir string) error { return h.run(cmd.Context(), dir) })
	}
	return cmd
}

// run prints all tables.
func (h *history) run(ctx context.Context, dir string) error {
	if err := describe(h.out, "History", dir); err != nil {
		return err
	}
	fmt.Fprintf(h.out, "%d keys of %d bytes, values of %d, as many superseded versions.\n", h.keys, keyBytes, h.valueBytes)
	facts := table{head: []string{"what", "figure"}}
	before := heapInUse()
	plain := h.filled()
	heap := heapInUse()
	facts.add("heap of a key, with its place in the history", fmt.Sprintf("%.0f bytes", float64(heap-before)/float64(h.keys)))
	full := h.filled()
	both := heapInUse()
	h.overwrite(full, h.keys)
	version := float64(heapInUse()-both) / float64(h.keys)
	facts.add("heap of a superseded version, beyond key and value", fmt.Sprintf("%.0f bytes", version-float64(keyBytes+h.valueBytes)))
	if err := h.compaction(&facts); err != nil {
		return err
	}
	if err := h.transactions(&facts); err != nil {
		return err
	}
	facts.write(h.out)
	if err := h.snapshots(ctx, plain, full); err != nil {
		return err
	}
	return h.oldRevisions(ctx)
}

// logEntry returns an entry of requests at the next index of f.
func logEntry(f *fsm.FSM, r wire.Requests) *raft.Log {
	return &raft.Log{Index: f.AppliedIndex() + 1, Term: 1, Type: raft.LogCommand, Data: fsm.AppendEntry(nil, 0, r.Version, r.Count, r.Data)}
}

// filled returns a state machine with a history in which each key was put once.
func (h *history) filled() *fsm.FSM {
	f := fsm.New(fsm.Config{})
	f.Apply(logEntry(f, fsm.HistoryRequest()))
	h.overwrite(f, h.keys)
	return f
}

// overwrite puts the first keys once each, in no order.
func (h *history) overwrite(f *fsm.FSM, keys int) {
	order := rand.New(rand.NewPCG(1, uint64(f.AppliedIndex()))).Perm(keys)
	for len(order) > 0 {
		i := 0
		f.Apply(puts(f.AppliedIndex()+1, min(entryCommands, len(order)), h.valueBytes, func() int { i++; return order[i-1] }))
		order = order[i:]
	}
}

// compaction compacts the versions, and adds the longest time of an entry of one put
// meanwhile.
func (h *history) compaction(facts *table) error {
	var all []float64
	longest := time.Duration(0)
	for range h.rounds {
		f := h.filled()
		h.overwrite(f, h.keys)
		entry := puts(0, 1, h.valueBytes, func() int { return 0 })
		f.Apply(logEntry(f, fsm.CompactRequest(f.Revision())))
		for settled := false; !settled; _, settled = f.HistoryBytes() {
			entry.Index = f.AppliedIndex() + 1
			began := time.Now()
			f.Apply(entry)
			took := time.Since(began)
			all, longest = append(all, float64(took)), max(longest, took)
		}
		if err := f.Close(); err != nil {
			return err
		}
		runtime.GC()
	}
	facts.add("a put during a compaction, median", time.Duration(median(all)).String())
	facts.add(fmt.Sprintf("the longest of %d", len(all)), took(longest))
	return nil
}

// transactionEntries is the number of entries in a measurement of transactions.
const transactionEntries = 40

// transactions adds how many times the processor time of a request of one put one of ten puts
// takes.
func (h *history) transactions(facts *table) error {
	f := h.filled()
	one, ten := entryOfRequests(h.valueBytes, 1), entryOfRequests(h.valueBytes, transactionPuts)
	apply := func(l *raft.Log) (float64, error) {
		runtime.GC()
		_, cpu, err := timed(func() error {
			for range transactionEntries {
				l.Index = f.AppliedIndex() + 1
				f.Apply(l)
			}
			return nil
		})
		return cpu, err
	}
	var ones, tens []float64
	for range h.rounds {
		a, err := apply(one)
		if err != nil {
			return err
		}
		b, err := apply(ten)
		if err != nil {
			return err
		}
		ones, tens = append(ones, a), append(tens, b)
	}
	facts.add("processor time of a transaction of ten puts ÷ that of a put, in the state machine", fmt.Sprintf("%.1f", ratio(tens, ones)))
	return f.Close()
}

// entryOfRequests returns an entry of requests of n puts each.
func entryOfRequests(valueBytes, n int) *raft.Log {
	var all wire.Requests
	for i := range entryCommands {
		var r kv.Request
		for k := range n {
			r.Then = append(r.Then, kv.Op{Kind: kv.OpPut, Key: keyOf(n*i + k), Value: make([]byte, valueBytes)})
		}
		all = fsm.Encode(all, r)
	}
	return &raft.Log{Term: 1, Type: raft.LogCommand, Data: fsm.AppendEntry(nil, 0, all.Version, all.Count, all.Data)}
}

// snapshotInMemory implements raft.SnapshotSink.
type snapshotInMemory struct{ bytes.Buffer }

func (*snapshotInMemory) ID() string    { return "" }
func (*snapshotInMemory) Cancel() error { return nil }
func (*snapshotInMemory) Close() error  { return nil }

// snapshots writes and loads the snapshots of a state machine with superseded versions and of
// one without, in turns.
func (h *history) snapshots(ctx context.Context, plain, full *fsm.FSM) error {
	columns, err := inTurn(ctx, h.rounds, 6, []contender{
		{"with the superseded versions", func() ([]float64, error) { return snapshotTurn(full) }},
		{"without", func() ([]float64, error) { return snapshotTurn(plain) }},
	})
	if err != nil {
		return err
	}
	t := sideBySide("snapshot", []string{
		"time of writing, a byte", "processor time of writing, a byte", "time of loading, a byte", "processor time of loading, a byte",
	}, columns[:4], func(ns float64) string { return fmt.Sprintf("%.3g ns", ns) })
	t.write(h.out)
	whole := sideBySide("the whole", []string{"time of loading", "processor time of loading"}, columns[4:],
		func(ns float64) string { return fmt.Sprintf("%.2f s", ns/1e9) })
	whole.write(h.out)
	return nil
}

// snapshotTurn writes and loads a snapshot, and returns the nanoseconds a byte of both, and
// then those of loading all of it.
func snapshotTurn(f *fsm.FSM) ([]float64, error) {
	s, err := f.Snapshot()
	if err != nil {
		return nil, err
	}
	var sink snapshotInMemory
	sink.Grow(int(3 * f.Size()))
	wall, cpu, err := timed(func() error { return s.Persist(&sink) })
	if err != nil {
		return nil, err
	}
	s.Release()
	bytes := float64(sink.Len())
	debug.FreeOSMemory() // a new process has no garbage
	into := fsm.New(fsm.Config{})
	loadWall, loadCPU, err := timed(func() error { return into.Restore(io.NopCloser(&sink)) })
	if err != nil {
		return nil, err
	}
	return []float64{wall / bytes, cpu / bytes, loadWall / bytes, loadCPU / bytes, loadWall, loadCPU}, into.Close()
}

// timed returns the nanoseconds of do, and those of the processor time meanwhile.
func timed(do func() error) (wall, cpu float64, err error) {
	before, err := processTime()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	wall = float64(time.Since(began))
	after, err := processTime()
	return wall, float64(after - before), err
}

// oldRevisions reads one key at revisions of different ages, and prints the time.
func (h *history) oldRevisions(ctx context.Context) error {
	f := fsm.New(fsm.Config{})
	f.Apply(logEntry(f, fsm.HistoryRequest()))
	for i := 0; i < h.keys; i += entryCommands {
		f.Apply(puts(f.AppliedIndex()+1, entryCommands, h.valueBytes, func() int { return 0 }))
	}
	read := func(from, to uint64) contender {
		r := rand.New(rand.NewPCG(from, to))
		return contender{fmt.Sprintf("%d to %d", from, to), func() ([]float64, error) {
			var failed error
			ns := perCall(oldReads, func(int) {
				if _, _, err := f.GetPast(keyOf(0), from+r.Uint64N(to-from)); err != nil {
					failed = err
				}
			})
			return []float64{ns}, failed
		}}
	}
	newest := f.Revision()
	columns, err := inTurn(ctx, h.rounds, 1, []contender{read(newest, newest+1), read(newest/2, newest/2+100), read(2, 102), read(2, newest)})
	if err != nil {
		return err
	}
	t := bySize(fmt.Sprintf("revision of %d (of it, the first row's)", newest), []string{"get of a key with a version at each"}, columns)
	t.write(h.out)
	return f.Close()
}
