package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// smallDisk mounts a tmpfs of mib MiB for the test, and returns its directory.
func smallDisk(t testing.TB, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", mib)); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// freeOn returns how many bytes are free on the filesystem of dir.
func freeOn(t testing.TB, dir string) int64 {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// takeAllBut fills the disk of dir with a file so that left bytes are free. It takes small
// steps, and checks the free bytes before each, because the node writes meanwhile.
func takeAllBut(t testing.TB, dir string, left int64) (path string) {
	t.Helper()
	path = filepath.Join(dir, "other")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	for n := freeOn(t, dir) - left; n > 0; n = freeOn(t, dir) - left {
		n = min(n, 4<<20)
		if err := syscall.Fallocate(int(f.Fd()), 0, size, n); err != nil {
			t.Fatal(err)
		}
		size += n
	}
	return path
}

// sizeOf returns how many bytes the files below dir have. A file that is removed meanwhile
// does not count.
func sizeOf(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// putStatus puts a value and returns the answer's status, and the detail of an error.
func (p *proc) putStatus(key, value string) (int, string, error) {
	req, err := http.NewRequest(http.MethodPut, p.keyURL(key), strings.NewReader(value))
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var problem struct{ Detail, Outcome string }
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = json.Unmarshal(body, &problem)
	}
	if err == nil && resp.StatusCode == http.StatusInsufficientStorage && problem.Outcome != "not_done" {
		err = fmt.Errorf("507 with outcome %q", problem.Outcome)
	}
	return resp.StatusCode, problem.Detail, err
}

// mustPutStatus puts a value, and tries again if there is no leader for a moment. The
// answer must be one of want.
func mustPutStatus(t testing.TB, p *proc, key, value string, want ...int) (code int) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, "put "+key, func() error {
		got, detail, err := p.putStatus(key, value)
		if err == nil && !slices.Contains(want, got) {
			err = fmt.Errorf("got %d %s, want one of %v", got, detail, want)
			if got != http.StatusServiceUnavailable && got != http.StatusGatewayTimeout {
				t.Fatal(err)
			}
			want = append(want, http.StatusNoContent) // the first attempt may have made the key
		}
		code = got
		return err
	})
	return code
}

// deleteAll deletes the keys below a prefix, in order, through one node.
func deleteAll(t testing.TB, p *proc, keys []string) {
	t.Helper()
	for _, key := range keys {
		req, err := http.NewRequest(http.MethodDelete, p.keyURL(key), nil)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, 30*time.Second, "delete "+key, func() error {
			resp, err := do(req)
			if err == nil && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotFound {
				err = errors.New(resp.Status)
			}
			return err
		})
	}
}

// mustRun fails the test if one of the servers has ended.
func (ps procs) mustRun(t testing.TB) {
	t.Helper()
	for _, p := range ps {
		select {
		case <-p.exited:
			t.Fatalf("%s has ended: %v; its log:\n%s", p.name, p.err, p.logs.Tail(3000))
		default:
		}
	}
}

// TestSnapshotByHand takes snapshots of a follower by the command, from another node,
// and of the node itself by HTTP.
func TestSnapshotByHand(t *testing.T) {
	ps := newProcs(t, 3)
	follower := ps.followers(t)[0]
	asked := ps[0]
	value := strings.Repeat("v", 1_000_000)
	for range 20 {
		mustPutStatus(t, asked, "k", value, http.StatusCreated, http.StatusNoContent)
	}
	// The leader writes a checkpoint within 10 s of the last put. An entry that comes while
	// the snapshot is written would keep the log's newest segment.
	testkit.Eventually(t, 20*time.Second, "the follower has it all, and the checkpoint behind it", func() error {
		a, err := asked.status()
		if err != nil {
			return err
		}
		b, err := follower.status()
		if err == nil && (a.State == nil || a.State.Index != a.AppliedIndex || b.AppliedIndex != a.AppliedIndex) {
			err = fmt.Errorf("%d of %d, checkpoint %+v", b.AppliedIndex, a.AppliedIndex, a.State)
		}
		return err
	})
	out, errs, err := kvorum(t, "snapshot", follower.name, "--endpoints", asked.http())
	if err != nil || !strings.HasPrefix(out, follower.name+": snapshot of 2") { // each of the 20 values, of a megabyte, and of those that were put twice
		t.Fatalf("kvorum snapshot: got %q, %q, %v", out, errs, err)
	}
	s, err := follower.status()
	if err != nil {
		t.Fatal(err)
	}
	if s.Disk.LogBytes != 0 || s.Disk.SnapshotBytes < 20_000_000 {
		t.Errorf("the log has %d bytes, the snapshot %d", s.Disk.LogBytes, s.Disk.SnapshotBytes)
	}
	if out, errs, err = kvorum(t, "snapshot", "--endpoints", follower.http()); err == nil || !strings.Contains(errs, "nothing new") {
		t.Errorf("once more: got %q, %q, %v", out, errs, err)
	}
	if out, errs, err = kvorum(t, "snapshot", "nobody", "--endpoints", asked.http()); err == nil || !strings.Contains(errs, "no such node") {
		t.Errorf("of nobody: got %q, %q, %v", out, errs, err)
	}
	// A node that was stopped with an empty log starts again, and its log begins again.
	if err := follower.stop(t); err != nil {
		t.Fatal(err)
	}
	mustPutStatus(t, asked, "later", "v", http.StatusCreated)
	follower.start(t)
	ps.waitReady(t)
	if resp, body, err := follower.get("later", ""); err != nil || resp.StatusCode != http.StatusOK || body != "v" {
		t.Errorf("after a restart: got %v, %q, %v", resp, body, err)
	}
	mustPutStatus(t, follower, "later", "w", http.StatusNoContent)
}

// TestServer_SmallDisk starts a new node on a disk that is too small even for an empty one:
// it is refused with the size that is needed. A node with data starts on a full disk, so
// that keys can be deleted.
func TestServer_SmallDisk(t *testing.T) {
	tiny := smallDisk(t, 30)
	ip := loopback()
	out, errs, err := kvorum(t, "server", "--id", "n1", "--data-dir", filepath.Join(tiny, "data"), "--bootstrap-expect", "1",
		"--http-addr", ip+":8001", "--peer-addr", ip+":7001", "--gossip-addr", ip+":6001")
	if err == nil || !strings.Contains(errs, "data-dir") || !strings.Contains(errs, "30 MiB") || !strings.Contains(errs, "needs 41 MiB") {
		t.Errorf("on 30 MiB: got %q, %q, %v", out, errs, err)
	}

	disk := smallDisk(t, 200)
	ps := newProcsIn(t, 1, func() string { return disk })
	for i := range 20 {
		mustPutStatus(t, ps[0], fmt.Sprint("k", i), strings.Repeat("v", 1_000_000), http.StatusCreated)
	}
	if err := ps[0].stop(t); err != nil {
		t.Fatal(err)
	}
	takeAllBut(t, disk, 3<<20)
	ps[0].start(t)
	ps.waitReady(t)
	testkit.Eventually(t, 10*time.Second, "puts are refused", func() error {
		code, _, err := ps[0].putStatus("k0", "v")
		if err == nil && code != http.StatusInsufficientStorage {
			err = fmt.Errorf("got %d", code)
		}
		return err
	})
	deleteAll(t, ps[0], []string{"k0", "k1", "k2"})
	if resp, _, err := ps[0].get("k3", ""); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("read: got %v, %v", resp, err)
	}
	if err := os.Remove(filepath.Join(disk, "other")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "puts are taken", func() error {
		code, detail, err := ps[0].putStatus("k0", "v")
		if err == nil && code != http.StatusCreated {
			err = fmt.Errorf("got %d: %s", code, detail)
		}
		return err
	})
}
