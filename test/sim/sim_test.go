package sim

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/test/chronicle"
	"github.com/kvorum/kvorum/test/history"
	"github.com/kvorum/kvorum/transport"
)

var (
	seedFlag    = flag.Uint64("sim.seed", 0, "run this seed alone; 0 takes new ones")
	secondsFlag = flag.Int("sim.seconds", 3, "real seconds after which no further simulation begins")
	lengthFlag  = flag.Duration("sim.length", time.Duration(fewer(90, 30))*time.Second, "simulated time in which faults happen")
	allFlag     = flag.Bool("sim.all", false, "try all moments where a test tries some")
	pictureFlag = flag.String("sim.picture", "", "directory for a picture of a history that is not linearizable")
)

// fewer returns the number of repetitions: all, or some under the race detector.
func fewer(all, some int) int {
	if raceEnabled {
		return some
	}
	return all
}

// checkLimit is the maximum time to check one history, in real time.
const checkLimit = 20 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("GOMAXPROCS") == "" {
		// One goroutine at a time: a simulation takes less time, and depends more on its
		// seed.
		runtime.GOMAXPROCS(1)
	}
	os.Exit(m.Run())
}

// TestSimulation runs simulations until the end of its time. It fails with the first broken
// promise.
func TestSimulation(t *testing.T) {
	total, began := totals{}, time.Now()
	limit := time.Duration(*secondsFlag) * time.Second
	for total.runs == 0 || *seedFlag == 0 && time.Since(began) < limit {
		p := randomPlan(newSeed())
		// Not t.Log, which prints nothing if another goroutine panics.
		fmt.Fprintf(os.Stderr, "seed %d: %d nodes, %d kinds of fault\n", p.seed, p.nodes, len(p.faults))
		if found, report := total.simulate(t, p); found != "" {
			t.Errorf("seed %d: %s; before that:\n%s", p.seed, found, report)
			break
		}
	}
	t.Log(total.String(time.Since(began)))
	// One simulation may have nothing to compare: all of it before the history begins.
	if c := &total.checked; total.runs >= 5 && !t.Failed() && (c.Requests == 0 || c.Reads == 0 || c.Watched == 0) {
		t.Error("answers, past reads or watches were not compared with the model: this test shows nothing")
	}
}

// newSeed returns the seed that was asked for, or a random one.
func newSeed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
}

// randomPlan draws the plan of a simulation from a seed.
func randomPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 0))
	p := plan{
		seed: seed, nodes: 3, length: *lengthFlag, clients: 4 + rng.IntN(5),
		snapshotBytes: int64(16<<10 + rng.IntN(256<<10)),
		link:          link{min: 100 * time.Microsecond, max: time.Duration(300+rng.IntN(5000)) * time.Microsecond},
	}
	if rng.IntN(3) == 0 {
		p.nodes = 5
	}
	// A run does not have all faults: with few kinds, each is frequent.
	for _, kind := range [][]harm{crashes, partitions, slowness, diskFaults, transfers, memberships, tailLosses} {
		if rng.IntN(2) == 0 {
			p.faults = append(p.faults, kind...)
		}
	}
	if rng.IntN(2) == 0 {
		p.faults, p.large = append(p.faults, narrowness...), true
	}
	p.moves = rng.IntN(2) == 0
	p.early = rng.IntN(4) == 0
	p.pace = []float64{0.2, 0.5, 1}[rng.IntN(3)]
	p.pause = time.Duration(5+rng.IntN(100)) * time.Millisecond
	if rng.IntN(2) == 0 {
		p.window = transport.MinPipelineWindow + rng.IntN(transport.MaxPipelineWindow-transport.MinPipelineWindow+1)
	}
	if rng.IntN(4) == 0 {
		p.snapshotRate = cluster.MinSnapshotBytesPerSecond << rng.IntN(4)
	}
	if len(p.faults) == 0 {
		p.faults = slices.Concat(crashes, partitions, transfers)
	}
	if rng.IntN(3) == 0 {
		p.mixBuilds()
	}
	p.evicts = rng.IntN(2) == 0
	return p
}

// totals sums up simulations.
type totals struct {
	runs, undecided int
	simulated       time.Duration
	counts          counts
	checked         chronicle.Report
}

func (s *totals) String(took time.Duration) string {
	c := &s.counts
	return fmt.Sprintf("%d simulations: %.2f cluster-hours in %.1f s; %d operations (%d unknown, %d not done), "+
		"%d faults, %d elections, %d transfers, %d snapshots installed, %d wiped disks, %d lost tails, %d changes of 2 members, "+
		"%d looks at keys with a time to live, %d ends of leases noticed, %d keys evicted on a node, %d newer requests (and %d not understood by all), slowest recovery %.1f s, %d histories undecided; "+
		"compared with the model: %v",
		s.runs, s.simulated.Hours(), took.Seconds(), c.ops.Load(), c.unknown.Load(), c.notDone.Load(),
		c.faults.Load(), c.elections.Load(), c.transfers.Load(), c.snapshots.Load(), c.wipes.Load(), c.tails.Load(), c.members.Load(), c.sessions.Load(), c.leases.Load(), c.evicted.Load(), c.newer.Load(), c.unsupported.Load(),
		time.Duration(c.recovery.Load()).Seconds(), s.undecided, s.checked)
}

// simulate runs one simulation. It returns the broken promise, if any, and the events that
// led to it.
func (s *totals) simulate(t *testing.T, p plan) (found, story string) {
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(p, &s.counts)
		w.run()
	})
	s.runs++
	s.simulated += w.disturbed
	found, story = w.violation, w.report
	if found == "" {
		found, story = s.judge(w)
	}
	if found == "" {
		report := w.hist.Check(checkLimit)
		if len(report.Undecided) > 0 {
			s.undecided++
		}
		if len(report.Failures) > 0 {
			first := report.Failures[0]
			found = "the history of " + first.Key + " is not linearizable"
			story = w.trace.String() + "operations, each from call to return:\n" + first.Explain
			draw(t, p, first)
		}
	}
	return found, story
}

// judge compares what the clients were told with the model's answers. It returns what
// differs, if anything does.
func (s *totals) judge(w *world) (found, story string) {
	report := w.chronicle.Check()
	s.checked.Add(report)
	if len(report.Failures) > 0 {
		return strings.Join(report.Failures, "; also: "), w.trace.String()
	}
	return "", ""
}

func draw(t *testing.T, p plan, failure history.Failure) {
	if *pictureFlag == "" {
		return
	}
	var picture bytes.Buffer
	if err := failure.Draw(&picture); err != nil {
		t.Error(err)
		return
	}
	path := filepath.Join(*pictureFlag, fmt.Sprintf("history-%d.html", p.seed))
	if err := os.WriteFile(path, picture.Bytes(), 0o600); err != nil {
		t.Errorf("keep the picture: %v", err)
		return
	}
	t.Logf("the history is drawn in %s", path)
}
