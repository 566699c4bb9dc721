//go:build !unix

package main

import "syscall"

// ownGroup leaves a child in this process's group: there are no others here.
func ownGroup() *syscall.SysProcAttr { return nil }
