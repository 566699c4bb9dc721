//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// userChain is the chain that the engine leaves to others, and asks first.
	userChain = "DOCKER-USER"
	// bridgeFilter says whether what goes from container to container passes iptables.
	bridgeFilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"
)

// dockerNet loses what containers send to each other, by rules in a chain of its own.
// Clients come from the machine itself, and so pass no rule.
type dockerNet struct {
	lab   *dockerLab
	chain string

	mu     sync.Mutex                 // held while the rules are written
	made   bool                       // guarded by mu; the chain exists
	closed bool                       // guarded by mu
	subnet string                     // guarded by mu; of the containers' network
	lost   map[[2]*dockerHost]float64 // guarded by mu; the part that is lost, of what the first sends to the second
}

// set has a part of what one host sends to another be lost, from 0 to 1.
func (n *dockerNet) set(ctx context.Context, from, to Host, part float64) error {
	a, okA := from.(*dockerHost)
	b, okB := to.(*dockerHost)
	if !okA || !okB || a.lab != n.lab || b.lab != n.lab || a == b {
		return errors.New("not two hosts of this lab")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.makeLocked(ctx); err != nil {
		return err
	}
	pair := [2]*dockerHost{a, b}
	old, was := n.lost[pair]
	n.lost[pair] = part
	err := n.writeLocked(ctx)
	if err != nil {
		delete(n.lost, pair)
		if was {
			n.lost[pair] = old
		}
	}
	return err
}

// heal has nothing be lost any more.
func (n *dockerNet) heal(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.lost) == 0 {
		return nil
	}
	clear(n.lost)
	return n.writeLocked(ctx)
}

// follow writes the rules again when a container has another address.
func (n *dockerNet) follow(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.lost) == 0 {
		return nil
	}
	return n.writeLocked(ctx)
}

// close has the rules be written no more, so that they can be removed.
func (n *dockerNet) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed, n.lost = true, nil
}

// makeLocked makes the chain unless it exists.
func (n *dockerNet) makeLocked(ctx context.Context) error {
	if n.closed {
		return errKeeperEnded
	}
	if n.made {
		return nil
	}
	if on, err := os.ReadFile(bridgeFilter); err != nil || string(bytes.TrimSpace(on)) != "1" {
		return notCovered("what containers send to each other passes no iptables: %s is not 1 (br_netfilter)", bridgeFilter)
	}
	if _, err := tool(ctx, nil, "iptables", "--wait", "--numeric", "--list", userChain); err != nil {
		return notCovered("the engine's rules can't be changed, which takes root and iptables: %v", err)
	}
	network, err := n.lab.engine.only(ctx, "network")
	if err != nil {
		return err
	}
	if n.subnet, err = n.lab.engine.docker(ctx, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", network); err != nil {
		return err
	}
	if err := n.lab.claim.add(madeChain, n.chain); err != nil {
		return err
	}
	if _, err := tool(ctx, nil, "iptables", "--wait", "--new-chain", n.chain); err != nil {
		return err
	}
	if _, err := tool(ctx, nil, "iptables", "--wait", "--insert", userChain, "--jump", n.chain); err != nil {
		return err
	}
	n.made, n.lost = true, map[[2]*dockerHost]float64{}
	return nil
}

// writeLocked replaces all rules at once.
func (n *dockerNet) writeLocked(ctx context.Context) error {
	var text strings.Builder
	fmt.Fprintf(&text, "*filter\n:%s - [0:0]\n", n.chain) // empties it
	if len(n.lost) > 0 {
		n.rulesLocked(&text)
	}
	text.WriteString("COMMIT\n")
	cmd := exec.CommandContext(ctx, "iptables-restore", "--wait", "--noflush")
	cmd.Stdin = strings.NewReader(text.String())
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// rulesLocked says for each pair of hosts what is lost. A container that was started
// again may have another address: all is lost from and to an address that is nobody's,
// until the lab knows it.
func (n *dockerNet) rulesLocked(text *strings.Builder) {
	for _, a := range n.lab.hosts {
		for _, b := range n.lab.hosts {
			from, to := a.now().address, b.now().address
			if a == b || from == "" || to == "" {
				continue
			}
			pair := fmt.Sprintf("-A %s -s %s -d %s", n.chain, from, to)
			part := n.lost[[2]*dockerHost{a, b}]
			if part > 0 && part < 1 {
				fmt.Fprintf(text, "%s -m statistic --mode random --probability %f -j DROP\n", pair, part)
			}
			if part < 1 {
				fmt.Fprintf(text, "%s -j RETURN\n", pair)
			}
		}
	}
	fmt.Fprintf(text, "-A %s -s %s -d %s -j DROP\n", n.chain, n.subnet, n.subnet)
}

// removeChain removes a chain and the rule that leads to it. It is the remover of the
// sort madeChain.
func removeChain(chain string) error {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	if _, err := tool(ctx, nil, "iptables", "--wait", "--numeric", "--list", chain); err != nil {
		return ignoreMissingChain(err)
	}
	if _, err := tool(ctx, nil, "iptables", "--wait", "--check", userChain, "--jump", chain); err == nil {
		if _, err := tool(ctx, nil, "iptables", "--wait", "--delete", userChain, "--jump", chain); err != nil {
			return err
		}
	}
	if _, err := tool(ctx, nil, "iptables", "--wait", "--flush", chain); err != nil {
		return err
	}
	_, err := tool(ctx, nil, "iptables", "--wait", "--delete-chain", chain)
	return err
}

// ignoreMissingChain returns nil where err says that there is no such chain.
func ignoreMissingChain(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	return err
}
