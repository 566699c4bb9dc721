package test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
)

// TestSnapshot_DiskFilledMeanwhile has another program take the room of a snapshot while that is
// written. The snapshot is removed, before it takes the last room of the log too, and the node
// runs. When the room is given back, a snapshot is taken.
func TestSnapshot_DiskFilledMeanwhile(t *testing.T) {
	disk := smallDisk(t, 600)
	ps := newProcsIn(t, 1, func() string { return disk })
	value := strings.Repeat("v", 100_000)
	for i := range 600 {
		mustPutStatus(t, ps[0], fmt.Sprintf("k%04d", i), value, http.StatusCreated)
	}
	for attempt := 0; ; attempt++ {
		if attempt == 20 {
			t.Fatal("no snapshot was overtaken")
		}
		ps[0].waitTakesPuts(t, value)    // a snapshot has something to cover
		takeAllBut(t, disk, 100_000_000) // so that little is left to fill
		ended := make(chan string, 1)
		go func() { ended <- ps[0].snapshotNow() }()
		answer := fillDuring(t, ps[0], disk, ended)
		if err := os.Remove(filepath.Join(disk, "other")); err != nil {
			t.Fatal(err)
		}
		ps.mustRun(t)
		ps.mustRun(t)
		if strings.Contains(answer, "another program took the room") {
			break
		}
	}
	ps[0].waitTakesPuts(t, value)
	testkit.Eventually(t, time.Minute, "a snapshot is taken once there is room", func() error {
		answer := ps[0].snapshotNow()
		if strings.HasPrefix(answer, "200") || strings.Contains(answer, "nothing_new") { // one was taken by itself
			return nil
		}
		return errors.New(answer)
	})
}

// fillDuring fills the disk, up to 8 MB, once a snapshot is being written, and returns what ended
// says. It fills it again until then, because the node may remove something.
func fillDuring(t *testing.T, p *proc, disk string, ended <-chan string) string {
	t.Helper()
	for tick := time.Tick(time.Millisecond); ; {
		select {
		case answer := <-ended:
			takeAllBut(t, disk, 8_000_000)
			return answer
		case <-tick:
			if unfinished, _ := filepath.Glob(filepath.Join(p.dir, "snapshots", "*.tmp")); len(unfinished) > 0 {
				takeAllBut(t, disk, 8_000_000)
			}
		}
	}
}

// waitTakesPuts puts a key once there is room.
func (p *proc) waitTakesPuts(t *testing.T, value string) {
	t.Helper()
	testkit.Eventually(t, time.Minute, "a put is taken", func() error {
		code, detail, err := p.putStatus("k", value)
		if err == nil && code >= 300 {
			err = fmt.Errorf("got %d: %s", code, detail)
		}
		return err
	})
}

// snapshotNow asks for a snapshot, and returns the status and the body of the answer.
func (p *proc) snapshotNow() string {
	resp, err := http.Post("http://"+p.http()+"/admin/snapshot", "", nil)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(body), err)
}
