package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// driverSource is a program that is built as a command of a version of this repository's
// module, so that it calls that version's packages. The names of its files do not end in .go,
// because they are not part of this module.
type driverSource struct {
	name string // of the command
	main []byte // the same for all versions
	// withKV is for a version with package kv, withoutKV for one without it.
	withKV, withoutKV []byte
}

// driverProgram is a driverSource, built into a version.
type driverProgram struct{ version, path, dir string }

// build builds the driver into a revision, or the working tree if revision is "". Its files
// are in dir.
func (s driverSource) build(ctx context.Context, revision, dir string) (p driverProgram, err error) {
	p = driverProgram{version: revision, path: filepath.Join(dir, s.name), dir: dir}
	tree := ".."
	if revision == "" {
		p.version = "this version"
	} else {
		tree = filepath.Join(dir, "tree")
		if err := exportRevision(ctx, revision, tree); err != nil {
			return p, err
		}
	}
	if tree, err = filepath.Abs(tree); err != nil {
		return p, err
	}
	overlay, err := s.overlay(tree, dir)
	if err != nil {
		return p, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", p.path, "./cmd/"+s.name)
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		return p, fmt.Errorf("build: %w\n%s", err, out)
	}
	return p, nil
}

// overlay writes the driver's files to dir, and a list that places them in tree without
// changing it. It returns the list's path.
func (s driverSource) overlay(tree, dir string) (string, error) {
	calling := s.withKV
	if _, err := os.Stat(filepath.Join(tree, "kv")); errors.Is(err, os.ErrNotExist) {
		calling = s.withoutKV
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, source := range map[string][]byte{"main.go": s.main, "calling.go": calling} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, source, 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(tree, "cmd", s.name, name)] = path
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

// driver is a running driverProgram.
type driver struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	log  string // path
}

// start starts the program, and returns after its first line, which is decoded into the value
// that ready points to, unless ready is nil. Its log is in dir.
func (p driverProgram) start(dir string, ready any, args ...string) (*driver, error) {
	d := &driver{name: p.version, cmd: exec.Command(p.path, args...), log: filepath.Join(dir, "log")}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own descriptor
	d.cmd.Stderr = log
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewReader(out)
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := d.out.ReadBytes('\n')
	if err == nil && ready != nil {
		err = json.Unmarshal(line, ready)
	}
	if err != nil {
		d.stop()
		return nil, d.ended(err)
	}
	return d, nil
}

// ask sends a line to the driver, and decodes the line that it answers.
func (d *driver) ask(request, answer any) error {
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		return err
	}
	got, err := d.out.ReadBytes('\n')
	if err != nil {
		return d.ended(err)
	}
	return json.Unmarshal(got, answer)
}

// endedBytes is the maximum number of bytes of a driver's log in an error.
const endedBytes = 4 << 10

// ended returns an error with the end of the log of a driver that has ended, which has the reason.
func (d *driver) ended(err error) error {
	said, _ := os.ReadFile(d.log) // nothing is known without it
	said = said[max(0, len(said)-endedBytes):]
	return fmt.Errorf("the driver has ended: %w\n%s", err, said)
}

// stop ends the driver and waits for its end.
func (d *driver) stop() {
	_ = d.cmd.Process.Kill() // an error means that it has ended
	_ = d.cmd.Wait()         // the error says that it was killed
}
