//go:build linux

package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// benchmarks is the network that is reserved for tests of networks (RFC 2544).
var benchmarks = netip.MustParsePrefix("198.18.0.0/15")

const (
	// subnets is the number of networks of 256 addresses in benchmarks.
	subnets = 512
	// minRouteBits is the minimum prefix length of a route that counts. Shorter ones lead
	// to everywhere.
	minRouteBits = 8
)

// freeSubnet returns a network of 256 addresses in benchmarks that does not overlap with
// any route or address of this machine. Each process begins its search at another place.
func freeSubnet() (netip.Prefix, error) {
	taken, err := takenNetworks()
	if err != nil {
		return netip.Prefix{}, err
	}
	first := benchmarks.Addr().As4()
	for i := range subnets {
		i = (i + os.Getpid()) % subnets
		a := first
		a[1] += byte(i / 256)
		a[2] = byte(i % 256)
		candidate := netip.PrefixFrom(netip.AddrFrom4(a), 24)
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(candidate)
		}
		if free {
			return candidate, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("all of %v is in use", benchmarks)
}

// takenNetworks returns the networks of this machine's routes and addresses, except routes
// with a prefix shorter than minRouteBits.
func takenNetworks() ([]netip.Prefix, error) {
	var taken []netip.Prefix
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			taken = append(taken, p.Masked())
		}
	}
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan() // the heading
	for lines.Scan() {
		p, err := parseRoute(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		if p.Bits() >= minRouteBits {
			taken = append(taken, p)
		}
	}
	return taken, lines.Err()
}

// parseRoute reads a line of /proc/net/route: device, destination, ..., mask in the
// eighth column, both as numbers whose first byte is the lowest.
func parseRoute(line string) (netip.Prefix, error) {
	fields := strings.Fields(line)
	if len(fields) < 8 {
		return netip.Prefix{}, errors.New("a line is short")
	}
	to, err := strconv.ParseUint(fields[1], 16, 32)
	if err != nil {
		return netip.Prefix{}, err
	}
	mask, err := strconv.ParseUint(fields[7], 16, 32)
	if err != nil {
		return netip.Prefix{}, err
	}
	var a [4]byte
	binary.NativeEndian.PutUint32(a[:], uint32(to))
	return netip.PrefixFrom(netip.AddrFrom4(a), bits.OnesCount32(uint32(mask))), nil
}
