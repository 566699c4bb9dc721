//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// prefix is the beginning of the name of everything that a Lab makes outside of its
// process.
const prefix = "kvchaos"

// claimName is the name of a file in the directory for temporary files. The Lab that holds
// its lock is the only one on this machine.
const claimName = prefix + ".lock"

// claim is the right to have a lab on this machine. Its file names the process, and the
// things that the process made and that the kernel does not remove when the process ends.
type claim struct {
	file *os.File

	mu   sync.Mutex
	held claimed // guarded by mu; as in the file
}

// claimed is the content of a claim's file.
type claimed struct {
	PID  int         `json:"pid"`
	Made []madeThing `json:"made"`
}

// madeThing is something outside of the process, which removers[Sort] removes.
type madeThing struct {
	Sort string `json:"sort"`
	Name string `json:"name"`
}

// removers are the functions that remove the things of a run, by their sort. A missing
// thing is not an error.
var removers = map[string]func(name string) error{
	madeCgroup:  removeCgroup,
	madeFiles:   os.RemoveAll,
	madeProject: removeProject,
	madeChain:   removeChain,
}

// claimMachine takes the machine's claim, and removes the things that a dead run has left.
// It returns an ErrBusy while another process, or another Lab of this one, has it.
func claimMachine() (*claim, error) {
	path := filepath.Join(os.TempDir(), claimName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("claim this machine: %w", err)
	}
	c := &claim{file: file}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		holder, err := c.read()
		if err != nil {
			return nil, fmt.Errorf("%w (%s: %w)", ErrBusy, path, err)
		}
		return nil, fmt.Errorf("%w: process %d", ErrBusy, holder.PID)
	}
	dead, err := c.read()
	if err == nil {
		err = c.removeAll(dead.Made)
	}
	if err == nil {
		c.held = claimed{PID: os.Getpid()}
		err = c.write()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("remove what process %d left (%s): %w", dead.PID, path, err), file.Close())
	}
	return c, nil
}

// add records that a thing will be made, so that the next run can remove it if this one
// can't. Things are removed with the claim, in the opposite order.
func (c *claim) add(sort, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held.Made = append(c.held.Made, madeThing{sort, name})
	return c.write()
}

// release removes all recorded things and gives the claim back.
func (c *claim) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.removeAll(c.held.Made)
	if err == nil {
		err = c.file.Truncate(0) // otherwise the next run tries again
	}
	return errors.Join(err, c.file.Close())
}

// removeAll removes all things, the newest first. It continues after errors.
func (c *claim) removeAll(made []madeThing) error {
	var errs []error
	for i := len(made) - 1; i >= 0; i-- {
		remove, ok := removers[made[i].Sort]
		if !ok || !strings.HasPrefix(filepath.Base(made[i].Name), prefix) {
			errs = append(errs, fmt.Errorf("%s %s is not ours", made[i].Sort, made[i].Name))
			continue
		}
		if err := remove(made[i].Name); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", made[i].Sort, made[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// read returns the content of the file, the zero value for an empty file.
func (c *claim) read() (claimed, error) {
	var held claimed
	err := json.NewDecoder(io.NewSectionReader(c.file, 0, 1<<20)).Decode(&held)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return held, err
}

func (c *claim) write() error {
	b, err := json.Marshal(c.held)
	if err != nil {
		return err
	}
	_, err = c.file.WriteAt(append(b, '\n'), 0) // the rest of an older text is not read
	return err
}
