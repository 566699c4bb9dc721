//go:build !linux

package httpapi

import "net"

// hasUnread returns false: unread bytes can't be detected on this operating system.
func hasUnread(net.Conn) bool { return false }
