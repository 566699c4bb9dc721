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
	// maxConcurrency is the maximum number of an import's requests in flight.
	maxConcurrency = 1024
	// budgetUnit is the size in bytes of one unit of an import's memory budget for values.
	budgetUnit = 64 << 10
	// budgetUnits is the number of units of that budget: values of 64 MiB together, or one
	// larger value.
	budgetUnits = 1024
	// queuedPerWorker is the maximum number of items that wait for one worker.
	queuedPerWorker = 4
	// firstRetryPause and maxRetryPause are the maximum of the first pause, and of any pause,
	// between attempts to put a key.
	firstRetryPause = 50 * time.Millisecond
	maxRetryPause   = 2 * time.Second
)

var (
	// errOutage is returned for an import that ended because no key could be stored.
	errOutage = errors.New("nothing could be stored")
	// errExpired is returned for an item whose deadline has passed.
	errExpired = errors.New("expired")
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
		Long: `Import stores the files of a directory tree, or the lines of a file or of standard
input ("-"). The key of a file is its path relative to DIR, with slashes. A line has
one of these forms:

  {"key":"greeting","value":"hello"}
  {"key_b64":"/w==","value_b64":"AAEC"}
  {"key":"page","value":"<p>","content_type":"text/html","flags":7}
  {"key":"session","value":"alice","expires_at":"2026-01-02T15:04:05.000Z"}

A key with a deadline gets what is left until then, by this machine's clock, as its
time to live. A line whose deadline has passed is skipped, and counted as expired.

A listing's last line, {"end":true,...}, is skipped.

Only regular files are stored; symbolic links and others are skipped and
counted. Lines with the same key are stored in their order.

A put is sent again, to the next endpoint, for up to --retry-for, if it is refused
for a while (429, 503), can't reach a node, or has an unknown outcome: storing the
same bytes twice has the same result as once. The first ten keys that can't be
stored are listed, and the exit code is 1. If no key could be stored for
--retry-for, import stops. Ctrl-C stops it too. The counts are printed in any case.`,
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
		defer func() { _ = src.close() }() // it was only read
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
	name   string // its file or line, for messages
	units  int    // number of units of the budget that it takes
	weight int    // its part of the progress bar
}

// importer stores items with many requests in flight.
type importer struct {
	importOptions
	clients []*client.Client // of one endpoint each
	tally   *tally
	bar     *progressbar.ProgressBar // nil unless standard error is a terminal

	// budget holds a token for each unit of values in memory. Only the source puts
	// tokens in. So no two goroutines with half of their units wait for each other.
	budget chan struct{}
	items  chan item // from the source to the dispatcher

	start      time.Time
	lastStored atomic.Int64            // time at which a key was last stored, in nanoseconds after start
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

// run stores all items of src, and returns when all have an outcome, or soon after ctx is
// cancelled. Then it does not wait for the source, since a read of standard input can't be
// interrupted. It returns errOutage if it stopped because no key could be stored, and
// errInterrupted if ctx was cancelled.
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
		_ = imp.bar.Clear() // an error only affects the display
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errOutage):
		return cause
	case cause != nil:
		return errInterrupted // also if no key is unfinished: the source may have more
	}
	return nil
}

// dispatch distributes items to workers. A key always goes to the same worker, so the last
// of two lines with one key is stored last.
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

// reserve takes size bytes of the budget before a value is read into memory. It returns the
// number of units, for release, or an error when ctx is cancelled.
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

// release returns units to the budget.
func (imp *importer) release(units int) {
	for range units {
		<-imp.budget
	}
}

// send sends an item to the workers. Once ctx is cancelled it counts the item as unfinished.
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
	case errors.Is(err, errExpired):
		imp.tally.expire()
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

// putUntilDone puts an item until it is stored, refused for good, or retryFor has passed.
// Each attempt goes to the next endpoint. A put with an unknown outcome is tried again too:
// the same bytes again make the same value. If the item's deadline has passed, it returns
// errExpired.
func (imp *importer) putUntilDone(ctx context.Context, it kv.Item, worker uint64) error {
	deadline := time.Now().Add(imp.retryFor)
	wait := newBackoff(firstRetryPause, maxRetryPause)
	for n := worker; ; n++ {
		attributes, err := attributesOf(&it)
		if err != nil {
			return err
		}
		_, err = imp.clients[n%uint64(len(imp.clients))].PutWith(ctx, it.Key, it.Value, attributes)
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

// attributesOf returns the attributes of an item that is put now, errExpired if its deadline has
// passed.
func attributesOf(it *kv.Item) (client.Attributes, error) {
	a := client.Attributes{ContentType: it.ContentType, Flags: it.Flags}
	if it.Deadline == 0 {
		return a, nil
	}
	if a.TTL = time.Until(time.UnixMilli(it.Deadline)).Truncate(kv.MinTTL); a.TTL < kv.MinTTL {
		return a, errExpired
	}
	return a, nil
}

// checkOutage stops the import if a key, first tried at began, could not be stored for a
// temporary reason, and no other key was stored meanwhile. Otherwise each of the remaining
// keys would take as long and then fail too.
func (imp *importer) checkOutage(began time.Time, err error) {
	lastStored := imp.start.Add(time.Duration(imp.lastStored.Load()))
	if imp.retryFor > 0 && passing(err) && !lastStored.After(began) {
		imp.stop(fmt.Errorf("%w for %v: %w", errOutage, imp.retryFor, err))
	}
}

// passing reports whether err has a temporary reason, so that the put is sent again.
func passing(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && (e.Retryable || e.Outcome == client.Unknown)
}

// retryAfter returns the pause that the server which answered err asks for.
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
