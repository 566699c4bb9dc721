//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	tunPath = "/dev/net/tun"
	tunName = "wires"
	// tunQueue is the maximum number of packets that wait for this program; more are lost.
	tunQueue = 5000
	// maxPacket is the size of the buffer for a packet, more than the devices' maximum of
	// 1,500 bytes.
	maxPacket = 2048
	// ipHeader is the size of an IPv4 header without options.
	ipHeader = 20
)

// tun is this program's end of a TUN device. Packets that a host sends into the device are
// read here, and the host receives packets that are written here.
type tun struct {
	file *os.File
	done sync.WaitGroup
}

// newTun makes a TUN device in a keeper's network, and calls forward with each packet that
// is sent into it. forward must not keep the packet.
func newTun(k *keeper, forward func(packet []byte)) (*tun, error) {
	t := &tun{}
	if err := k.do(func() error { return t.open() }); err != nil {
		return nil, fmt.Errorf("make a TUN device: %w", err)
	}
	err := k.ip(
		fmt.Sprintf("link set %s txqueuelen %d", tunName, tunQueue),
		fmt.Sprintf("link set %s up", tunName),
	)
	if err != nil {
		return nil, errors.Join(err, t.file.Close())
	}
	t.done.Go(func() { t.read(forward) })
	return t, nil
}

// open makes the device in the network of the present thread.
func (t *tun) open() error {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq(tunName)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	t.file = os.NewFile(uintptr(fd), tunPath) // after TUNSETIFF, otherwise it could not be polled
	return nil
}

func (t *tun) read(forward func(packet []byte)) {
	packet := make([]byte, maxPacket)
	for {
		n, err := t.file.Read(packet)
		if err != nil {
			return // it is closed
		}
		forward(packet[:n])
	}
}

// write delivers packet to the host. A packet that can't be written is lost, like others.
func (t *tun) write(packet []byte) { _, _ = t.file.Write(packet) }

// close removes the device.
func (t *tun) close() error {
	err := t.file.Close()
	t.done.Wait()
	return err
}
