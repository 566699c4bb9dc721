package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/load"
	"github.com/kvorum/kvorum/test/chaos/nemesis"
	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/chaos/report"
	"github.com/kvorum/kvorum/test/chaos/verdict"
	"github.com/kvorum/kvorum/test/history"
)

const (
	// kindDocker is the kind of a Lab of containers.
	kindDocker = "docker"
	// diskMiB is the size of each host's own disk, if it has one: enough for a node's
	// reserve, its log and two snapshots.
	diskMiB = 400
	// startTimeout is the maximum time until a new cluster accepts writes on all nodes.
	startTimeout = 60 * time.Second
	// keyPrefix is the beginning of the keys of the clients.
	keyPrefix = "chaos/"
	// calm is the time for which clients run before the first fault, and after the last.
	calm = 3 * time.Second
	// logEnd is the number of bytes of each host's log that are kept after a run with
	// findings.
	logEnd = 1 << 20
)

// run is the state of one run.
type run struct {
	o     options
	out   *printer
	dir   string // for files that are removed after the run
	lab   lab.Lab
	rec   *record.Run
	watch *nemesis.Watch

	missing   map[string]string   // faults that this kind of Lab is known not to have, with the reasons
	here      []*nemesis.Fault    // the others
	schedules []*nemesis.Schedule // one for each round
	idle      resources           // of the nodes before the clients start

	mu      sync.Mutex
	clients *load.Load // guarded by mu; of the newest round
}

// conclude makes a run, writes its page, and prints a verdict, which it returns: nil,
// errBroken, errUncovered, or the reason why there was no run.
func conclude(ctx context.Context, w io.Writer, o options) (*run, error) {
	r := &run{o: o, out: newPrinter(w)}
	err := r.make(ctx)
	if r.rec == nil {
		return r, err
	}
	if err != nil {
		r.rec.Uncovered = append(r.rec.Uncovered, record.Uncovered{What: "the rest of the run", Reason: err.Error()})
	}
	page, err := report.Write(o.place(r.rec.Kind), r.rec)
	if err != nil {
		return r, err
	}
	r.out.verdict(r, page)
	switch {
	case r.rec.Broken():
		return r, errBroken
	case !r.rec.Passed():
		return r, errUncovered
	}
	return r, nil
}

// make carries out a run and, in any case, removes all that it made. r.rec is nil if the
// run could not begin.
func (r *run) make(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp("", "kvchaos-"); err != nil {
		return fmt.Errorf("directory of the run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	path, err := r.o.program(ctx, r.dir)
	if err != nil {
		return err
	}
	if r.lab, err = r.open(ctx, path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.lab.Close()) }()
	r.rec = &record.Run{
		Program: "kvorum", Version: versionOf(ctx, path), Command: r.o.again(r.lab.Kind()), Seed: r.o.seed, Kind: r.lab.Kind(),
		Nodes: r.lab.Initial(), Clients: r.o.clients * r.lab.Initial(), Began: time.Now(), Files: map[string][]byte{},
	}
	r.out.from(r.rec.Began)
	return r.perform(ctx)
}

// open makes the Lab, and the program's place in it.
func (r *run) open(ctx context.Context, path string) (lab.Lab, error) {
	logger := slog.New(r.out.handler())
	if r.o.kind == kindDocker {
		return lab.OpenDocker(ctx, lab.DockerConfig{Root: ".", Program: path, Logger: logger})
	}
	cfg := lab.Config{Kind: r.o.kind, Program: lab.Kvorum(path), Initial: r.o.nodes, Spare: spare, Dir: r.dir, Logger: logger}
	if os.Geteuid() == 0 {
		cfg.DiskMiB, cfg.LoopDisk = diskMiB, true
	}
	return lab.Open(ctx, cfg)
}

// perform starts the cluster, its clients and the faults, checks, and fills in the record.
func (r *run) perform(ctx context.Context) error {
	r.watch = nemesis.Observe(r.lab.Hosts(), r.rec.Began)
	defer r.watch.Stop()
	r.out.say("%s: %d nodes and %d to spare; seed %d; %s", r.rec.Kind, r.rec.Nodes, len(r.lab.Hosts())-r.rec.Nodes, r.o.seed, r.rec.Version)
	cluster := nemesis.NewCluster(r.lab, r.watch, r.out.say)
	defer cluster.Close()
	defer r.fill(cluster)
	hosts := r.lab.Hosts()[:r.lab.Initial()]
	for _, h := range hosts {
		if err := h.Start(ctx); err != nil {
			return err
		}
	}
	if err := cluster.Await(ctx, startTimeout); err != nil {
		return fmt.Errorf("the cluster does not start: %w", err)
	}
	r.idle = measure(ctx, hosts)
	r.here = r.choose()
	if err := r.rounds(ctx, cluster, hosts); err != nil {
		return fmt.Errorf("ended after %v of %d s: %w", time.Since(r.rec.Began).Round(time.Second), r.o.seconds, err)
	}
	return nil
}

// rounds makes the faults of the run, and checks.
func (r *run) rounds(ctx context.Context, cluster *nemesis.Cluster, hosts []lab.Host) error {
	length := time.Duration(r.o.seconds) * time.Second
	if r.o.command == "soak" {
		return r.soak(ctx, cluster, hosts, length)
	}
	if err := r.breaks(ctx, cluster, hosts, length); err != nil {
		return err
	}
	return r.givenBack(ctx, hosts)
}

// breaks runs clients and faults for the given time, and checks the clients' results. It
// may be called again. An error is the reason why it ended early.
func (r *run) breaks(ctx context.Context, cluster *nemesis.Cluster, hosts []lab.Host, length time.Duration) error {
	round := len(r.schedules)
	seen := history.New(roundPrefix(round))
	clients := load.Start(r.loadConfig(hosts, round), seen)
	r.mu.Lock()
	r.clients = clients
	r.mu.Unlock()
	schedule := nemesis.NewSchedule(nemesis.Config{
		Cluster: cluster, Clients: clients, Seed: r.o.seed + uint64(round), Faults: r.here, AtOnce: r.o.atOnce, Every: r.o.every,
	})
	r.schedules = append(r.schedules, schedule)
	err := sleep(ctx, calm)
	if err == nil {
		err = schedule.Run(ctx, length)
	}
	if err == nil {
		err = sleep(ctx, calm)
	}
	clients.Stop()
	schedule.Fill(r.rec)
	r.rec.Uncovered = append(r.rec.Uncovered, clients.Thin()...)
	r.rec.Uncovered = append(r.rec.Uncovered, clients.Few()...)
	r.addSeconds(clients.Seconds())
	r.addOperations(clients.Operations())
	if err != nil {
		return err
	}
	r.out.say("checks what clients saw")
	before := *r.rec
	verdict.Final(ctx, r.lab.Hosts(), seen, r.rec)
	if ctx.Err() != nil {
		*r.rec = before // interrupted checks show nothing
		return context.Cause(ctx)
	}
	r.mergeChecks()
	return nil
}

// roundPrefix returns the beginning of the keys of the clients of a round.
func roundPrefix(round int) string { return fmt.Sprintf("%s%d/", keyPrefix, round) }

// mergeChecks merges the checks with one name into one, which has passed if it did in every
// round.
func (r *run) mergeChecks() {
	var merged []record.Check
	for _, c := range r.rec.Checks {
		at := slices.IndexFunc(merged, func(m record.Check) bool { return m.Name == c.Name })
		if at < 0 {
			merged = append(merged, c)
			continue
		}
		merged[at].Passed = merged[at].Passed && c.Passed
		merged[at].Of = fmt.Sprintf("in %d rounds, in the last one %s", len(r.schedules), c.Of)
	}
	r.rec.Checks = merged
}

// addSeconds adds the results of the clients of one round to those of each second.
func (r *run) addSeconds(seconds []record.Second) {
	for i, s := range seconds {
		if i == len(r.rec.Seconds) {
			r.rec.Seconds = append(r.rec.Seconds, s)
		} else if s != (record.Second{}) {
			r.rec.Seconds[i] = s
		}
	}
}

// addOperations adds the numbers of operations of one round.
func (r *run) addOperations(operations []record.Operation) {
	for _, o := range operations {
		at, ok := slices.BinarySearchFunc(r.rec.Operations, o.Kind, func(o record.Operation, kind string) int { return strings.Compare(o.Kind, kind) })
		if !ok {
			r.rec.Operations = slices.Insert(r.rec.Operations, at, record.Operation{Kind: o.Kind})
		}
		sum := &r.rec.Operations[at]
		sum.Answered, sum.Refused, sum.Unknown = sum.Answered+o.Answered, sum.Refused+o.Refused, sum.Unknown+o.Unknown
	}
}

// choose returns the faults of the run that its Lab should have. It records the others, and
// if they were asked for by name, they are uncovered.
func (r *run) choose() (faults []*nemesis.Fault) {
	place := nemesis.Place{
		Kind: r.lab.Kind(), Nodes: r.lab.Initial(), Spare: len(r.lab.Hosts()) - r.lab.Initial(), OneWay: r.lab.CutsOneWay(),
		OwnDisks: r.o.kind != kindDocker && os.Geteuid() == 0,
	}
	r.missing = map[string]string{}
	for _, f := range r.o.chosen() {
		reason := f.Missing(place)
		if reason == "" {
			faults = append(faults, f)
			continue
		}
		r.missing[f.Name] = reason
		if len(r.o.faults) > 0 {
			r.rec.Uncovered = append(r.rec.Uncovered, record.Uncovered{What: f.Name, Reason: reason})
		}
	}
	return faults
}

// fill adds the results to the record, also if the run failed.
func (r *run) fill(cluster *nemesis.Cluster) {
	cluster.Fill(r.rec)
	r.rec.Leaders = append(r.rec.Leaders, r.watch.Leaders()...)
	r.rec.Violations = append(r.rec.Violations, r.watch.Violations()...)
	r.rec.Length = time.Since(r.rec.Began).Round(time.Millisecond).Seconds()
	for _, t := range r.tallies() {
		if t.Tried == 0 && len(r.o.faults) > 0 {
			r.rec.Uncovered = append(r.rec.Uncovered, record.Uncovered{What: t.Fault.Name, Reason: "the run was too short for it"})
		}
	}
	if r.rec.Broken() {
		for _, h := range r.lab.Hosts() {
			r.rec.Files[h.Name()+".log"] = []byte(h.Log(logEnd))
		}
	}
}

// tallies returns how often each fault was tried and made, in all rounds.
func (r *run) tallies() []nemesis.Tally {
	all := make([]nemesis.Tally, len(r.here))
	for i, f := range r.here {
		all[i].Fault = f
		for _, s := range r.schedules {
			t := s.Tallies()[i]
			all[i].Tried, all[i].Made = all[i].Tried+t.Tried, all[i].Made+t.Made
		}
	}
	return all
}

// loadConfig returns the configuration of the clients in a round.
func (r *run) loadConfig(hosts []lab.Host, round int) load.Config {
	cfg := load.Config{Hosts: hosts, PerHost: r.o.clients, Seed: r.o.seed + uint64(round), Began: r.rec.Began}
	if c := findControl(r.o.control); c != nil {
		cfg.Lie = c.lie
	}
	return cfg
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
