package test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestProcesses_GoTree proves that no acknowledged write is lost. It imports a real tree,
// the Go installation's own sources, through a follower, while the leader is killed with
// SIGKILL and comes back. Then every file is read from each node and compared, and again
// after all three nodes were killed at once.
func TestProcesses_GoTree(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in short mode: imports the whole Go tree")
	}
	root := goSource(t)
	want := hashTree(t, root)
	ps := newProcs(t, 3, "--max-value-bytes", "16777216")
	leader, through := ps.leader(t), ps.followers(t)[0]

	began := time.Now()
	type outcome struct {
		stdout, stderr string
		err            error
	}
	imported := make(chan outcome, 1)
	go func() {
		stdout, stderr, err := kvorum(t, "import", root, "--endpoints", through.http())
		imported <- outcome{stdout, stderr, err}
	}()
	testkit.Eventually(t, 60*time.Second, "a third is imported", func() error {
		s, err := through.status()
		if err != nil {
			return err
		}
		if int(s.Revision) < len(want)/3 {
			return fmt.Errorf("revision %d of %d files", s.Revision, len(want))
		}
		return nil
	})
	wantPartial(t, through, len(want))
	select {
	case result := <-imported:
		t.Fatalf("the import had ended before the leader was killed: %v\n%s%s", result.err, result.stdout, result.stderr)
	default:
	}
	leader.kill()
	t.Logf("leader %s killed after %v", leader.name, time.Since(began).Round(time.Millisecond))
	leader.start(t)
	result := <-imported
	t.Logf("import with the leader's death in it took %v: %s", time.Since(began).Round(time.Millisecond), lastLine(result.stdout+result.stderr))
	if result.err != nil {
		t.Fatalf("import: %v\n%s%s", result.err, result.stdout, result.stderr)
	}
	ps.waitReady(t)
	ps.compare(t, want)

	for _, p := range ps {
		p.kill()
	}
	for _, p := range ps {
		p.start(t)
	}
	ps.waitReady(t)
	ps.compare(t, want)
}

// wantPartial checks that p has some of the keys of an import, and not all.
func wantPartial(t testing.TB, p *proc, all int) {
	t.Helper()
	resp, body, err := p.get("", "?keys_only=true")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("list %s: %v %v", p.name, resp, err)
	}
	keys := strings.Count(body, "\n")
	t.Logf("%d of %d keys are there", keys, all)
	if keys == 0 || keys >= all {
		t.Fatalf("%d of %d keys are there, want some and not all", keys, all)
	}
}

// goSource returns the source tree of the Go installation.
func goSource(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src")
}

// hashTree returns the SHA-256 of every regular file below root by its slash path.
func hashTree(t testing.TB, root string) map[string][32]byte {
	t.Helper()
	sums := make(map[string][32]byte)
	empty, large := 0, 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		sums[filepath.ToSlash(rel)] = sha256.Sum256(data)
		if len(data) == 0 {
			empty++
		}
		if len(data) > 1<<20 {
			large++
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk %s: %v", root, err)
	}
	t.Logf("%d files, %d of them empty, %d over 1 MiB", len(sums), empty, large)
	if len(sums) < 1000 {
		t.Fatalf("only %d files below %s", len(sums), root)
	}
	return sums
}

// compare reads every key from each node, linearizably, and compares its hash.
func (ps procs) compare(t testing.TB, want map[string][32]byte) {
	t.Helper()
	for _, p := range ps {
		began := time.Now()
		keys := make(chan string)
		errs := make(chan error, len(want))
		var readers sync.WaitGroup
		for range 32 {
			readers.Go(func() {
				for key := range keys {
					resp, body, err := p.get(key, "")
					switch {
					case err != nil:
						errs <- fmt.Errorf("%s: %w", key, err)
					case resp.StatusCode != http.StatusOK:
						errs <- fmt.Errorf("%s: %s %s", key, resp.Status, body)
					case sha256.Sum256([]byte(body)) != want[key]:
						errs <- fmt.Errorf("%s: differs (%d bytes)", key, len(body))
					}
				}
			})
		}
		for key := range want {
			keys <- key
		}
		close(keys)
		readers.Wait()
		close(errs)
		bad := 0
		for err := range errs {
			if bad++; bad <= 10 {
				t.Errorf("%s: %v", p.name, err)
			}
		}
		if bad > 0 {
			t.Fatalf("%s: %d of %d files are wrong", p.name, bad, len(want))
		}
		t.Logf("%s: %d files compared in %v", p.name, len(want), time.Since(began).Round(time.Millisecond))
	}
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
