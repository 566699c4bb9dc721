//go:build linux

package lab

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// dialer returns the host whose process is at the other end of an accepted connection,
// or nil.
func (p *proxies) dialer(c *net.TCPConn) *host {
	inode, err := socketOf(c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort())
	if err != nil {
		return nil
	}
	for _, h := range p.lab.hosts {
		if running := h.running(); running != nil && hasSocket(running.pid, inode) {
			return h
		}
	}
	return nil
}

// socketOf returns the inode of this machine's socket between two addresses.
func socketOf(local, remote netip.AddrPort) (string, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer f.Close()
	ends := [2]string{procAddress(local), procAddress(remote)}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// slot, local, remote, state, queues, timer, retransmits, user, timeout, inode
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[1] == ends[0] && fields[2] == ends[1] && fields[9] != "0" {
			return fields[9], nil
		}
	}
	return "", fmt.Errorf("no socket from %s to %s: %w", local, remote, os.ErrNotExist)
}

// procAddress writes an address as /proc/net/tcp does.
func procAddress(a netip.AddrPort) string {
	ip := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
}

// hasSocket reports whether a process has a socket open.
func hasSocket(pid int, inode string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	files, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	want := "socket:[" + inode + "]"
	for _, f := range files {
		if target, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && target == want {
			return true
		}
	}
	return false
}
