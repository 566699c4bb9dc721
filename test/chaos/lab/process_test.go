//go:build linux

package lab_test

const runnerArgument = "lab-runner"

func runnerMain(dir string) error { return nil }
