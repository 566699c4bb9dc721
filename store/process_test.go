package store_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/kvorum/kvorum/store"
)

// childDir, in the environment, makes this test binary open a store in that
// directory, write to it and hold it until it is killed; see
// TestStore_OtherProcess.
const childDir = "KVORUM_TEST_STORE_DIR"

// childWrites is how many keys the other process sets.
const childWrites = 200

// TestStore_OtherProcess shows that a directory which another process has open
// is refused with the number of that process, and that without WithSyncWrites
// too nothing is lost when that process is killed.
func TestStore_OtherProcess(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		holdStore(dir)
		return
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestStore_OtherProcess$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	in, err := child.StdinPipe() // which ends with this process
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "written\n" {
		t.Errorf("the other process says %q, %v", line, err)
	}
	_, err = store.New(store.WithDataDir(dir))
	pid := strconv.Itoa(child.Process.Pid)
	if !errors.Is(err, store.ErrDataDirInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), pid) {
		t.Errorf("got %v, want %v of %s by %s", err, store.ErrDataDirInUse, dir, pid)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	s := mustNew(t, store.WithDataDir(dir))
	for i := range childWrites {
		expect(t, s, fmt.Sprintf("k%d", i), strconv.Itoa(i))
	}
}

// holdStore is what the other process does.
func holdStore(dir string) {
	s, err := store.New(store.WithDataDir(dir))
	for i := 0; i < childWrites && err == nil; i++ {
		err = s.Set(fmt.Sprintf("k%d", i), []byte(strconv.Itoa(i)))
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("written")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the other one ends, if it does not kill this one
	_ = s.Close()
}
