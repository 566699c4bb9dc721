//go:build !unix

package main

import "syscall"

// ownGroup leaves a child in this process's group: this system has no process groups.
func ownGroup() *syscall.SysProcAttr { return nil }
