//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// userChain is the chain that the engine leaves to other programs, and evaluates first.
	userChain = "DOCKER-USER"
	// bridgeFilter is the path of the setting that makes packets between containers pass
	// iptables.
	bridgeFilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"
)

// dockerNet drops packets between containers, by rules in a chain of its own. Packets of
// clients come from the machine itself, so they pass no rule.
type dockerNet struct {
	lab   *dockerLab
	chain string

	mu     sync.Mutex                 // held while the rules are written
	made   bool                       // guarded by mu; the chain exists
	closed bool                       // guarded by mu
	subnet string                     // guarded by mu; of the containers' network
	lost   map[[2]*dockerHost]float64 // guarded by mu; the part of the packets from the first to the second that is dropped
}

// set drops a part, 0 to 1, of the packets from one host to another.
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

// heal ends all drops.
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

// close prevents further writes of the rules, so that they can be removed.
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

// rulesLocked writes the rules of each pair of hosts. A restarted container may have
// another address. So all packets from and to an unknown address are dropped until the lab
// knows it.
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
	// To list the chain alone fails in the same way for a missing chain as for other reasons.
	rules, err := tool(ctx, nil, "iptables", "--wait", "--list-rules")
	if err != nil {
		return err
	}
	lines := strings.Split(rules, "\n")
	if !slices.Contains(lines, "-N "+chain) {
		return nil
	}
	if slices.Contains(lines, "-A "+userChain+" -j "+chain) {
		if _, err := tool(ctx, nil, "iptables", "--wait", "--delete", userChain, "--jump", chain); err != nil {
			return err
		}
	}
	if _, err := tool(ctx, nil, "iptables", "--wait", "--flush", chain); err != nil {
		return err
	}
	_, err = tool(ctx, nil, "iptables", "--wait", "--delete-chain", chain)
	return err
}
