#!/usr/bin/env bash
# github.com/hashicorp/raft v1.8.0: who owns what GetConfiguration returns.
#
# Guess: each call of Raft.GetConfiguration returns a copy, so that its caller may
#        filter or sort the servers in place. The comment in the code speaks of a copy.
# Found: the copy is made when the configuration changes, and from then on all callers,
#        and Stats, share its slice. One caller that drops the non-voters with
#        slices.DeleteFunc leaves an empty server in the answer to everybody else,
#        until the next change of the configuration. Raft itself goes on with the real
#        one: the non-voter still gets all entries.
# Clone the servers before they are changed.
#
# Output seen (2026-11-28, go1.26.8, linux/amd64):
#   before: Voter one, Nonvoter two
#   voters, by one caller: Voter one
#   after, to another caller: Voter one, Voter (no id)
#   the entry that was added since arrived at the non-voter: true
#
# It takes some seconds, installs raft in a temporary folder, and fails if any of this
# has changed. The nodes talk in memory.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat > go.mod <<'EOF'
module finding

go 1.26

require github.com/hashicorp/raft v1.8.0
EOF

cat > main.go <<'EOF'
package main

import (
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// nothing is a state machine without a state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, io.EOF }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// show writes servers as their suffrage and id.
func show(servers []raft.Server) string {
	var all []string
	for _, s := range servers {
		id := string(s.ID)
		if id == "" {
			id = "(no id)"
		}
		all = append(all, fmt.Sprintf("%v %s", s.Suffrage, id))
	}
	return strings.Join(all, ", ")
}

func servers(r *raft.Raft) []raft.Server {
	future := r.GetConfiguration()
	must(future.Error())
	return future.Configuration().Servers
}

// await waits up to ten seconds until a condition holds, and returns whether it does.
func await(holds func() bool) bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if holds() {
			return true
		}
	}
	return false
}

func main() {
	names := []raft.ServerID{"one", "two"}
	var transports []*raft.InmemTransport
	for _, name := range names {
		_, t := raft.NewInmemTransport(raft.ServerAddress(name))
		transports = append(transports, t)
	}
	transports[0].Connect("two", transports[1])
	transports[1].Connect("one", transports[0])
	all := raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: "one", Address: "one"},
		{Suffrage: raft.Nonvoter, ID: "two", Address: "two"},
	}}
	var nodes []*raft.Raft
	for i, name := range names {
		c := raft.DefaultConfig()
		c.LocalID, c.LogOutput = name, io.Discard
		store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		must(raft.BootstrapCluster(c, store, store, snapshots, transports[i], all))
		r, err := raft.NewRaft(c, nothing{}, store, store, snapshots, transports[i])
		must(err)
		nodes = append(nodes, r)
	}
	leader := nodes[0]
	if !await(func() bool { return leader.State() == raft.Leader }) {
		log.Fatal("no leader")
	}
	fmt.Println("before:", show(servers(leader)))
	voters := slices.DeleteFunc(servers(leader), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	fmt.Println("voters, by one caller:", show(voters))
	fmt.Println("after, to another caller:", show(servers(leader)))
	must(leader.Apply([]byte("entry"), time.Second).Error())
	last := leader.LastIndex()
	fmt.Println("the entry that was added since arrived at the non-voter:", await(func() bool { return nodes[1].LastIndex() == last }))
}
EOF

go mod tidy >/dev/null 2>&1
got=$(go run .)
want='before: Voter one, Nonvoter two
voters, by one caller: Voter one
after, to another caller: Voter one, Voter (no id)
the entry that was added since arrived at the non-voter: true'
echo "$got"
if [ "$got" != "$want" ]; then
  echo "this has changed; wanted:"
  echo "$want"
  exit 1
fi
