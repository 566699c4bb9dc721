//go:build !linux

package httpapi

import "net"

// hasUnread returns false: what has come and was not read yet can't be told here.
func hasUnread(net.Conn) bool { return false }
