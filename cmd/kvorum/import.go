package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kvorum/kvorum/client"
	"github.com/kvorum/kvorum/kv"
)

const (
	// maxConcurrency bounds an import's requests in flight.
	maxConcurrency = 1024
	// budgetUnit is the grain in which an import reckons values in memory.
	budgetUnit = 64 << 10
	// budgetUnits bounds them: 64 MiB together, or one larger value.
	budgetUnits = 1024
	// queuedPerWorker is how many small values may wait for a slow key's worker.
	queuedPerWorker = 4
	// firstRetryPause and maxRetryPause bound the pauses between attempts to put a key.
	firstRetryPause = 50 * time.Millisecond
	maxRetryPause   = 2 * time.Second
)

var (
	// errOutage ends an import that stores nothing any more.
	errOutage = errors.New("nothing could be stored")
	// errInterrupted is returned for an import that the user stopped.
	errInterrupted = errors.New("interrupted before the end")
)

// importOptions are the flags of import.
type importOptions struct {
	prefix      string
	concurrency int
	retryFor    time.Duration
}

func newImportCommand() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import DIR|FILE|- [flags]",
		Short: "Store a directory tree or a file of JSON lines",
		Long: `Import stores the files of a directory tree, each under its path relative to
DIR with slashes, or the lines of a file (or of standard input, "-"):

  {"key":"greeting","value":"hello"}
  {"key_b64":"/w==","value_b64":"AAEC"}

A listing's last line, {"end":true,...}, is skipped.

Only regular files are stored; symbolic links and others are skipped and
counted. Lines with the same key are stored in their order.

A put that is refused for now (429, 503), can't reach a node or whose outcome is
unknown is sent again, to the next endpoint, for up to --retry-for: the same
bytes under the same key are the same once or twice. What can't be stored is
listed, the first ten, and makes the exit code 1. When nothing at all could be
stored for --retry-for, import stops. Ctrl-C stops it too; both report.`,
		Example: `  kvorum import ./config --prefix config/
  kvorum import backup.jsonl --endpoints 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003
  kvorum export - --endpoints old:8001 | kvorum import - --endpoints new:8001`,
		Args: exactArgs(1),
	}
	cmd.Flags().StringVar(&o.prefix, "prefix", "", "put before every key")
	cmd.Flags().IntVar(&o.concurrency, "concurrency", 64, "requests in flight, 1 to 1024")
	cmd.Flags().DurationVar(&o.retryFor, "retry-for", 30*time.Second, "how long to try each key again")
	flags := addClientFlags(cmd, defaultTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.concurrency < 1 || o.concurrency > maxConcurrency {
			return usagef("--concurrency must be between 1 and %d", maxConcurrency)
		}
		if o.retryFor < 0 {
			return usagef("--retry-for must not be negative")
		}
		clients, err := flags.openEach(cmd)
		if err != nil {
			return err
		}
		defer func() {
			for _, c := range clients {
				c.Close()
			}
		}()
		src, err := openSource(args[0], cmd.InOrStdin())
		if err != nil {
			return err
		}
		defer func() { _ = src.close() }() // only read from
		imp := newImporter(clients, o, newBar(src, cmd.ErrOrStderr()))
		stopped := imp.run(cmd.Context(), src)
		if err := imp.tally.report(cmd.OutOrStdout(), cmd.ErrOrStderr()); stopped == nil {
			return err
		}
		return stopped
	}
	return cmd
}

// item is one key to store.
type item struct {
	kv.Item
	name   string // the file or line it comes from, for messages
	units  int    // what it takes of the budget
	weight int    // what it moves the progress bar
}

// importer stores items with many requests in flight.
type importer struct {
	importOptions
	clients []*client.Client // of one endpoint each
	tally   *tally
	bar     *progressbar.ProgressBar // nil unless a terminal watches

	// budget holds a token for each unit of values in memory. Only the source
	// puts tokens in, so that two can't wait for each other half served.
	budget chan struct{}
	items  chan item // from the source to the dispatcher

	start      time.Time
	lastStored atomic.Int64            // when a key was last stored, in nanoseconds after start
	stop       context.CancelCauseFunc // ends the import; set by run
}

func newImporter(clients []*client.Client, o importOptions, bar *progressbar.ProgressBar) *importer {
	return &importer{
		importOptions: o, clients: clients, tally: newTally("stored"), bar: bar,
		budget: make(chan struct{}, budgetUnits),
		items:  make(chan item),
		start:  time.Now(),
	}
}

// run stores everything that src yields, and returns when all of it has an
// outcome, or soon after ctx is cancelled. The source alone is not waited for
// then, as a read of standard input can't be broken off. It returns errOutage if
// it stopped because nothing could be stored any more, errInterrupted if ctx was
// cancelled.
func (imp *importer) run(ctx context.Context, src source) error {
	ctx, imp.stop = context.WithCancelCause(ctx)
	defer imp.stop(nil)
	go func() {
		defer close(imp.items)
		src.produce(ctx, imp)
	}()
	queues := make([]chan item, imp.concurrency)
	var workers sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan item, queuedPerWorker)
		workers.Go(func() {
			for it := range queues[i] {
				imp.store(ctx, it, uint64(i))
			}
		})
	}
	imp.dispatch(ctx, queues)
	for _, q := range queues {
		close(q)
	}
	workers.Wait()
	if imp.bar != nil {
		_ = imp.bar.Clear() // what a terminal shows is no outcome
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errOutage):
		return cause
	case cause != nil:
		return errInterrupted // even if no key is unfinished: the source is
	}
	return nil
}

// dispatch hands items to workers. A key always goes to the same one, so that
// the last of two lines with one key is stored last.
func (imp *importer) dispatch(ctx context.Context, queues []chan item) {
	seed := maphash.MakeSeed()
	for {
		select {
		case <-ctx.Done():
			return
		case it, ok := <-imp.items:
			if !ok {
				return
			}
			queues[maphash.String(seed, it.Key)%uint64(len(queues))] <- it
		}
	}
}

// reserve takes size bytes of the budget before a value is held in memory, and
// returns what to give back. It returns an error when ctx is cancelled.
func (imp *importer) reserve(ctx context.Context, size int64) (int, error) {
	units := int(min(size/budgetUnit+1, budgetUnits))
	for taken := range units {
		select {
		case imp.budget <- struct{}{}:
		case <-ctx.Done():
			imp.release(taken)
			return 0, ctx.Err()
		}
	}
	return units, nil
}

// release gives units back to the budget.
func (imp *importer) release(units int) {
	for range units {
		<-imp.budget
	}
}

// send hands an item to the workers; once ctx is cancelled it counts it as unfinished.
func (imp *importer) send(ctx context.Context, it item) {
	it.Key = imp.prefix + it.Key
	select {
	case imp.items <- it:
	case <-ctx.Done():
		imp.release(it.units)
		imp.tally.interrupt()
	}
}

// store stores one item and counts the outcome.
func (imp *importer) store(ctx context.Context, it item, worker uint64) {
	began := time.Now()
	err := imp.putUntilDone(ctx, it.Item, worker)
	imp.release(it.units)
	switch {
	case err == nil:
		imp.lastStored.Store(int64(time.Since(imp.start)))
		imp.tally.ok(len(it.Value))
	case ctx.Err() != nil:
		imp.tally.interrupt()
	default:
		imp.tally.fail(it.name, err)
		imp.checkOutage(began, err)
	}
	imp.progress(it.weight)
}

// progress moves the bar.
func (imp *importer) progress(weight int) {
	if imp.bar != nil {
		_ = imp.bar.Add(weight)
	}
}

// putUntilDone puts an item until it is stored, refused for good, or retryFor
// has passed. Each attempt goes to the next endpoint. An unknown outcome is
// tried again too: putting the same bytes again leaves the same value.
func (imp *importer) putUntilDone(ctx context.Context, it kv.Item, worker uint64) error {
	deadline := time.Now().Add(imp.retryFor)
	wait := newBackoff(firstRetryPause, maxRetryPause)
	for n := worker; ; n++ {
		_, err := imp.clients[n%uint64(len(imp.clients))].Put(ctx, it.Key, it.Value)
		if err == nil || !passing(err) {
			return err
		}
		left := time.Until(deadline)
		if ctx.Err() != nil || left <= 0 {
			return err
		}
		select {
		case <-time.After(min(left, max(wait.NextBackOff(), retryAfter(err)))):
		case <-ctx.Done():
			return err
		}
	}
}

// checkOutage stops the import when a key could not be stored for a passing
// reason, tried from began on, and no other was stored meanwhile: each of the
// rest would take as long only to fail too.
func (imp *importer) checkOutage(began time.Time, err error) {
	lastStored := imp.start.Add(time.Duration(imp.lastStored.Load()))
	if imp.retryFor > 0 && passing(err) && !lastStored.After(began) {
		imp.stop(fmt.Errorf("%w for %v: %w", errOutage, imp.retryFor, err))
	}
}

// passing says whether a put that failed with err is to be sent again.
func passing(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && (e.Retryable || e.Outcome == client.Unknown)
}

// retryAfter returns how long the server that answered err asks to wait.
func retryAfter(err error) time.Duration {
	var e *client.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// newBar returns a progress bar for src if w is a terminal, else nil.
func newBar(src source, w io.Writer) *progressbar.ProgressBar {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	total, inBytes := src.size()
	options := []progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription("importing"),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100 * time.Millisecond),
	}
	if inBytes {
		options = append(options, progressbar.OptionShowBytes(true))
	}
	return progressbar.NewOptions64(total, options...)
}
