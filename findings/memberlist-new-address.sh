#!/usr/bin/env bash
# github.com/hashicorp/memberlist v0.7.0: a member's new address.
#
# Guess 1: after Config.AdvertiseAddr was changed, UpdateNode ("used to trigger
#          re-advertising the local node") tells the others the new address.
# Found:   it returns nil, and the others keep the old address: what is sent again
#          is the address that the member was created with.
# Guess 2: a member that crashed, and was found dead by the others, can come back
#          under its name at another address, as a container does that is started
#          again.
# Found:   Join returns 1 and nil, the returning member sees the others, and they
#          never see it: with DeadNodeReclaimTime at its default of 0 they drop the
#          address as a conflict for as long as they remember the dead one. Nothing
#          but a log line of the others says so.
# Way out: DeadNodeReclaimTime above 0 on the others, or another name for each
#          start, which is what Kvorum does.
#
# Output seen (2026-11-27, go1.26.8, linux/amd64):
#   UpdateNode: error <nil>, b sees a at 127.77.0.1
#   after a's crash: b sees a at none
#   Join at another address: 1 member, error <nil>, a sees 2 members, b sees a at none
#   the same with DeadNodeReclaimTime of 1s: b sees a at 127.77.0.4
#
# It takes about a minute, installs memberlist in a temporary folder, binds port
# 17946 of 127.77.0.0/24, and fails if any of this has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat > go.mod <<'EOF'
module finding

go 1.26

require github.com/hashicorp/memberlist v0.7.0
EOF

cat > main.go <<'EOF'
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/hashicorp/memberlist"
)

const port = 17946

func start(name, ip string, change func(*memberlist.Config)) *memberlist.Memberlist {
	c := memberlist.DefaultLocalConfig()
	c.Name, c.BindAddr, c.BindPort, c.AdvertiseAddr, c.AdvertisePort = name, ip, port, ip, port
	c.Logger = log.New(io.Discard, "", 0)
	change(c)
	m, err := memberlist.Create(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return m
}

// seen waits up to d until m sees name at want, and returns where it sees it.
func seen(m *memberlist.Memberlist, name, want string, d time.Duration) string {
	for end := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		found := "none"
		for _, n := range m.Members() {
			if n.Name == name {
				found = n.Addr.String()
			}
		}
		if found == want || time.Now().After(end) {
			return found
		}
	}
}

func main() {
	unchanged := func(*memberlist.Config) {}
	var config *memberlist.Config
	b := start("b", "127.77.0.2", unchanged)
	a := start("a", "127.77.0.1", func(c *memberlist.Config) { config = c })
	a.Join([]string{"127.77.0.2:17946"})
	seen(b, "a", "127.77.0.1", 10*time.Second)
	config.AdvertiseAddr = "127.77.0.9"
	err := a.UpdateNode(5 * time.Second)
	fmt.Printf("UpdateNode: error %v, b sees a at %s\n", err, seen(b, "a", "127.77.0.9", 5*time.Second))

	a.Shutdown() // without Leave, as a crash
	fmt.Printf("after a's crash: b sees a at %s\n", seen(b, "a", "none", 30*time.Second))
	a = start("a", "127.77.0.3", unchanged)
	n, err := a.Join([]string{"127.77.0.2:17946"})
	at := seen(b, "a", "127.77.0.3", 15*time.Second)
	fmt.Printf("Join at another address: %d member, error %v, a sees %d members, b sees a at %s\n", n, err, a.NumMembers(), at)
	a.Shutdown()
	b.Shutdown()

	b = start("b", "127.77.0.6", func(c *memberlist.Config) { c.DeadNodeReclaimTime = time.Second })
	a = start("a", "127.77.0.5", unchanged)
	a.Join([]string{"127.77.0.6:17946"})
	seen(b, "a", "127.77.0.5", 10*time.Second)
	a.Shutdown()
	seen(b, "a", "none", 30*time.Second)
	time.Sleep(2 * time.Second) // longer than the reclaim time
	a = start("a", "127.77.0.4", unchanged)
	a.Join([]string{"127.77.0.6:17946"})
	fmt.Printf("the same with DeadNodeReclaimTime of 1s: b sees a at %s\n", seen(b, "a", "127.77.0.4", 15*time.Second))
}
EOF

go mod tidy 2>/dev/null
go run . > seen
cat > expected <<'EOF'
UpdateNode: error <nil>, b sees a at 127.77.0.1
after a's crash: b sees a at none
Join at another address: 1 member, error <nil>, a sees 2 members, b sees a at none
the same with DeadNodeReclaimTime of 1s: b sees a at 127.77.0.4
EOF
diff expected seen && echo "as found"
