//go:build !linux

package transport

import "net"

// rawTCP returns nc; see rawconn_linux.go.
func rawTCP(nc net.Conn) net.Conn { return nc }
