package main

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// listeners are the addresses that a server has bound. Gossip binds its own once
// the data directory is open.
type listeners struct{ http, peer net.Listener }

// bind binds the HTTP and the peer address, and tries the gossip address. So an address in
// use is reported before the data directory is touched.
func (o *serverOptions) bind() (listeners, error) {
	httpListener, err := listen("HTTP", o.httpAddr)
	if err != nil {
		return listeners{}, err
	}
	peerListener, err := listen("peer", o.peerAddr)
	if err != nil {
		return listeners{}, errors.Join(err, httpListener.Close())
	}
	l := listeners{http: httpListener, peer: peerListener}
	if err := tryGossip(o.gossipAddr); err != nil {
		return listeners{}, errors.Join(err, l.close())
	}
	return l, nil
}

// close closes both.
func (l listeners) close() error { return errors.Join(l.http.Close(), l.peer.Close()) }

// listen binds a TCP address; what names it in errors.
func listen(what, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s address %s: %w", what, addr, listenReason(err))
	}
	return l, nil
}

// tryGossip binds a gossip address, TCP and UDP, for a moment: gossip itself binds
// it once the data directory is open.
func tryGossip(addr string) error {
	l, err := listen("gossip", addr)
	if err != nil {
		return err
	}
	_ = l.Close() // nothing was accepted
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return fmt.Errorf("listen on gossip address %s (UDP): %w", addr, listenReason(err))
	}
	return u.Close()
}

// listenReason returns an error of a listener without operation and address, which the
// message has anyway.
func listenReason(err error) error {
	if oe := new(net.OpError); errors.As(err, &oe) {
		err = oe.Err
	}
	if se := new(os.SyscallError); errors.As(err, &se) {
		return se.Err
	}
	return err
}

// advertised returns the address at which others reach the node. It is the given address if
// there is one, otherwise the host of bind with the bound port.
func advertised(given, bind string, l net.Listener) string {
	if given != "" {
		return given
	}
	host, _, err := net.SplitHostPort(bind)
	if err != nil {
		return l.Addr().String()
	}
	_, port, _ := net.SplitHostPort(l.Addr().String()) // a TCP listener's address has a port
	return net.JoinHostPort(host, port)
}
