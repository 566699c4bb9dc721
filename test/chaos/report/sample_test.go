package report_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kvorum/kvorum/test/chaos/record"
)

// effect is what a fault of the sample does to the clients.
type effect struct {
	name, detail string
	hosts        []string
	lasts        float64
	quiet        float64 // seconds without a write from its beginning on
	share        float64 // of the usual writes, after that
	slow         float64 // times the usual latency
	newLeader    bool
}

// effects are 14 faults, two of them combined, that fill two minutes.
var effects = []effect{
	{"kill a follower", "SIGKILL, started again 4 s later", []string{"n2"}, 4, 0, 0.93, 1.2, false},
	{"kill the leader", "SIGKILL, started again 4 s later", []string{"n1"}, 4, 1.4, 0.9, 1.5, true},
	{"pause the leader", "SIGSTOP for 5 s", []string{"n3"}, 5, 1.7, 0.9, 1.4, true},
	{"partition of a minority", "n1 from n2 and n3, both directions", []string{"n1"}, 5, 0, 0.95, 1.1, false},
	{"partition of the leader alone, one-way", "what n2 sends is lost", []string{"n2"}, 5, 1.9, 0.9, 1.3, true},
	{"loss", "5 % of all segments between nodes", []string{"n1", "n2", "n3"}, 6, 0, 0.42, 9, false},
	{"delay", "80 ms with 20 ms of jitter", []string{"n1", "n2", "n3"}, 5, 0, 0.08, 60, false},
	{"kill all", "SIGKILL of three at once", []string{"n1", "n2", "n3"}, 3, 5.1, 0.8, 2, true},
	{"full disk", "all but 2 MiB of 320 MiB taken", []string{"n3"}, 5, 0, 0.9, 1.2, false},
	{"slow disk", "fdatasync takes 30 ms longer", []string{"n1"}, 5, 0, 0.7, 5, false},
	{"pause a follower + loss", "SIGSTOP for 5 s, 2 % loss between the others", []string{"n2", "n1", "n3"}, 5, 0, 0.55, 7, false},
	{"transfer of leadership", "to n3, by POST /admin/transfer", []string{"n1", "n3"}, 0.2, 0.2, 0.9, 1.5, true},
	{"partition of a majority", "each node alone", []string{"n1", "n2", "n3"}, 5, 5, 0, 1, true},
	{"kill the leader + clock jumps by an hour", "SIGKILL; n2 starts an hour ahead", []string{"n3", "n2"}, 5, 1.6, 0.9, 1.6, true},
}

// sample returns a run of three nodes and two minutes, in which 14 faults were survived.
func sample() *record.Run {
	random := rand.New(rand.NewPCG(11, 42))
	run := &record.Run{
		Program: "kvorum", Version: "v0.9.2-14-g8f88fe8", Seed: 4288713090211, Kind: "namespaces", Nodes: 3, Clients: 12,
		Command: "make chaos SECONDS=120 SEED=4288713090211 NODES=3",
		Began:   time.Date(2026, 11, 27, 22, 4, 31, 0, time.UTC), Length: 120,
		Operations: []record.Operation{
			{Kind: "get at revision", Answered: 2841, Refused: 97, Unknown: 12},
			{Kind: "txn", Answered: 4112, Refused: 233, Unknown: 31},
			{Kind: "watch changes", Answered: 181204},
		},
		Checks: []record.Check{
			{Name: "every key has an order", Of: "412 keys, 214,803 operations", Passed: true},
			{Name: "acknowledged writes are kept", Of: "46,201 acknowledged writes on 3 nodes", Passed: true},
			{Name: "equal hash at equal index", Of: "index 51,877 on 3 nodes", Passed: true},
			{Name: "revisions of a session never go back", Of: "3 sessions, 8,114 answers", Passed: true},
			{Name: "memory and descriptors are given back", Of: "3 nodes", Passed: true},
		},
		Leaders: []record.Leader{{At: 0.31, Host: "n1", Term: 2}},
	}
	for range int(run.Length) {
		run.Seconds = append(run.Seconds, usual(random))
	}
	at, term := 6.0, uint64(2)
	for i, e := range effects {
		at += 2.2 + random.Float64()
		f := record.Fault{Name: e.name, Detail: e.detail, Hosts: e.hosts, From: at, To: at + e.lasts, Done: true}
		f.Served = max(e.quiet-e.lasts, 0) + 0.02 + 0.3*random.Float64()
		f.Without = max(e.quiet, 0.05) + 0.1*random.Float64()
		if e.newLeader {
			f.Terms = 1 + random.Uint64N(2)
			term += f.Terms
			next := fmt.Sprintf("n%d", 1+(i+1)%3)
			run.Leaders = append(run.Leaders,
				record.Leader{At: at + 0.2, Host: "", Term: term},
				record.Leader{At: at + max(e.quiet-0.1, 0.3), Host: next, Term: term})
		}
		if strings.HasPrefix(e.name, "kill") {
			run.Exits = append(run.Exits, record.Exit{At: at, Host: e.hosts[0], Code: -1, Signal: "killed", Asked: true})
		}
		run.Faults = append(run.Faults, f)
		disturb(run.Seconds, f, e)
		at = f.To
	}
	return run
}

// usual returns a second without any fault.
func usual(random *rand.Rand) record.Second {
	return record.Second{
		Acknowledged: 520 + int(25*random.NormFloat64()), Reads: 1380 + int(60*random.NormFloat64()),
		P50: 2.1 + 0.2*random.Float64(), P99: 7 + 3*random.Float64(),
	}
}

// disturb changes the seconds that a fault touches.
func disturb(all []record.Second, f record.Fault, e effect) {
	end := max(f.To, f.From+e.quiet)
	for at := int(f.From); at < int(math.Ceil(end)) && at < len(all); at++ {
		touched := min(end, float64(at+1)) - max(f.From, float64(at))
		quiet := max(min(f.From+e.quiet, float64(at+1))-max(f.From, float64(at)), 0)
		s := &all[at]
		share := (1 - touched) + (touched-quiet)*e.share
		if share < 0.02 {
			share = 0
		}
		s.Refused += int(900 * quiet)
		s.Unknown += int(math.Ceil(4 * quiet))
		s.Acknowledged = int(float64(s.Acknowledged) * share)
		s.Reads = int(float64(s.Reads) * (0.3 + 0.7*share))
		s.P50 *= e.slow
		s.P99 = s.P99*e.slow*2 + 400*quiet
		if s.Acknowledged == 0 {
			s.P50, s.P99 = 0, 0
		}
	}
}

// broken returns the sample with all that can be wrong with a run.
func broken(t testing.TB) *record.Run {
	run := sample()
	run.Seed = 977
	run.Command = "make chaos SECONDS=120 SEED=977 NODES=3"
	run.Faults[8].Done, run.Faults[8].Reason = false, "mount: permission denied; it takes CAP_SYS_ADMIN"
	run.Faults[12].Served = -1
	run.Exits = append(run.Exits, record.Exit{
		At: 88.1, Host: "n3", Code: 3,
		Why: `level=ERROR msg="the node stops" err="wal: segment 7: checksum mismatch at offset 1048576"`,
	})
	run.Checks[0].Passed, run.Checks[1].Passed = false, false
	run.Violations = []record.Violation{
		{At: 61.24, Promise: "reads are linearizable", What: `no order explains the answers about key "k/17"`, Evidence: "key-1.html"},
		{At: 118.9, Promise: "an acknowledged write is kept", What: "3 of 46,201 acknowledged writes are missing on n2", Evidence: "missing.txt"},
	}
	run.Files = map[string][]byte{"missing.txt": []byte("key      value        acknowledged\nk/3      c4-00181     61.002 s\nk/17     c1-00977     61.118 s\nk/202    c9-00412     61.121 s\n")}
	run.Uncovered = []record.Uncovered{{What: "client c7 on n2", Reason: "61 acknowledged writes, and 100 are needed"}}
	run.Keys = []record.Key{{Name: "k/17", Picture: picture(t), Explain: strings.Join([]string{
		"61.002 s  c1  put c1-00977           done, revision 40118",
		"61.118 s  c4  get (linearizable)     c1-00977, revision 40118",
		"61.240 s  c9  get (linearizable)     c1-00963, revision 40102   <- older than what c4 has seen",
	}, "\n")}}
	return run
}

// picture returns porcupine's page of a history that no order explains.
func picture(t testing.TB) string {
	t.Helper()
	model := porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			if put := input.(string); put != "" {
				return true, put
			}
			return state == output, state
		},
		DescribeOperation: func(input, output any) string {
			if input.(string) != "" {
				return fmt.Sprintf("put %s", input)
			}
			return fmt.Sprintf("get: %s", output)
		},
	}
	history := []porcupine.Operation{
		{ClientId: 0, Input: "c1-00963", Call: 0, Output: "", Return: 30},
		{ClientId: 0, Input: "c1-00977", Call: 40, Output: "", Return: 80},
		{ClientId: 1, Input: "", Call: 60, Output: "c1-00977", Return: 100},
		{ClientId: 2, Input: "", Call: 110, Output: "c1-00963", Return: 130},
	}
	result, info := porcupine.CheckOperationsVerbose(model, history, time.Minute)
	if result != porcupine.Illegal {
		t.Fatalf("the history of the sample is %v", result)
	}
	var page strings.Builder
	if err := porcupine.Visualize(model, info, &page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// long returns a run of some hours: the sample's two minutes, again and again.
func long(hours int) *record.Run {
	run, short := sample(), sample()
	run.Length = float64(hours) * 3600
	run.Seconds, run.Faults, run.Leaders, run.Exits = nil, nil, nil, nil
	for at := 0.0; at < run.Length; at += short.Length {
		run.Seconds = append(run.Seconds, short.Seconds...)
		term := uint64(20 * (at / short.Length))
		for _, f := range short.Faults {
			f.From, f.To = f.From+at, f.To+at
			run.Faults = append(run.Faults, f)
		}
		for _, l := range short.Leaders {
			l.At, l.Term = l.At+at, l.Term+term
			run.Leaders = append(run.Leaders, l)
		}
		for _, e := range short.Exits {
			e.At += at
			run.Exits = append(run.Exits, e)
		}
	}
	run.Seconds[len(run.Seconds)/2] = record.Second{Unknown: 77, P50: 0}
	run.Seconds = slices.Clip(run.Seconds)
	return run
}

// nasty is a text that would be a script, a tag, a style or a template if it were not
// escaped.
const nasty = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.}}</style>]]>&amp;|` + "\n`\u202e"

// hostile returns a run whose texts are all nasty or very long.
func hostile() *record.Run {
	run := sample()
	word := strings.Repeat("unbreakable", 30)
	run.Program, run.Version, run.Kind, run.Command = nasty, word, nasty, nasty+word
	for i := range run.Faults {
		run.Faults[i].Name += nasty
		run.Faults[i].Detail, run.Faults[i].Reason = word, nasty
	}
	run.Faults[1].Name = word
	run.Faults[2].Done = false
	run.Leaders = append(run.Leaders, record.Leader{At: 110, Host: nasty, Term: 40}, record.Leader{At: 112, Host: word, Term: 41})
	run.Exits = append(run.Exits, record.Exit{Host: nasty, Signal: nasty, Why: nasty + word})
	run.Checks = append(run.Checks, record.Check{Name: nasty, Of: word})
	run.Uncovered = []record.Uncovered{{What: nasty, Reason: word}}
	run.Violations = []record.Violation{{Promise: nasty, What: word, Evidence: "javascript:alert(1)"}, {Promise: word, What: nasty, Evidence: "odd <i>.txt"}}
	run.Files = map[string][]byte{"odd <i>.txt": []byte(nasty)}
	run.Keys = []record.Key{{Name: nasty, Explain: nasty, Picture: `<p>` + nasty}, {Name: word, Explain: word}}
	return run
}
