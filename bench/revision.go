package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// makeVersion returns the version with the name what: the path of a program, a revision of
// the repository, or "" for the working tree. It builds the program of a revision or of the
// working tree.
func makeVersion(ctx context.Context, what, dir string) (version, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return version{}, err
	}
	if what == "" {
		program, err := buildProgram(ctx, dir)
		return version{"this version", program, dir}, err
	}
	if info, err := os.Stat(what); err == nil && info.Mode().IsRegular() {
		path, err := filepath.Abs(what)
		return version{filepath.Base(what), path, dir}, err
	}
	program, err := buildRevision(ctx, what, dir)
	return version{what, program, dir}, err
}

// buildRevision builds kvorum at a revision into dir and returns the program's path.
func buildRevision(ctx context.Context, revision, dir string) (string, error) {
	tree, program := filepath.Join(dir, "tree"), filepath.Join(dir, "kvorum")
	if err := exportRevision(ctx, revision, tree); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/kvorum")
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", revision, err, out)
	}
	return program, nil
}

// exportRevision writes the repository's files at a revision to the directory tree, which
// it makes. It does not change the repository.
func exportRevision(ctx context.Context, revision, tree string) error {
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}").Output()
	if err != nil {
		return fmt.Errorf("%s is neither a file nor a revision of this repository", revision)
	}
	if err := os.MkdirAll(tree, 0o700); err != nil {
		return err
	}
	script := `git -C .. archive "$1" | tar -x -C "$2"`
	export := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script, "bash", string(commit[:len(commit)-1]), tree)
	if out, err := export.CombinedOutput(); err != nil {
		return fmt.Errorf("export %s: %w\n%s", revision, err, out)
	}
	return nil
}
