package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcdVersion is the version of etcd that is built and measured.
const etcdVersion = "v3.7.3"

// buildEtcd builds etcd below dir, in a module of its own, and returns the binary's path.
func buildEtcd(ctx context.Context, dir string) (string, error) {
	dir = filepath.Join(dir, "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module etcd\n"), 0o600); err != nil {
		return "", err
	}
	const module = "go.etcd.io/etcd/server/v3"
	path := filepath.Join(dir, "etcd")
	for _, args := range [][]string{{"get", module + "@" + etcdVersion}, {"build", "-o", path, module}} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", args[0], err, bytes.TrimSpace(out))
		}
	}
	return path, nil
}

// etcdFan is an etcd whose watchers share connections.
type etcdFan struct {
	*process
	clients []*clientv3.Client // each has one connection; the first one puts
}

// startEtcdFan starts an etcd with its default settings, and connects that number of clients.
func startEtcdFan(ctx context.Context, program, dir string, clients int) (fanServer, error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	url, peer := "http://"+addrs[0], "http://"+addrs[1]
	e := &etcdFan{process: &process{id: "etcd", http: addrs[0], dir: dir, program: program, args: []string{
		"--name", "n1", "--data-dir", filepath.Join(dir, "data"), "--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "n1=" + peer,
	}}}
	if err := e.start(); err != nil {
		return nil, err
	}
	if err := (processes{e.process}).awaitReady(ctx); err != nil {
		e.stop()
		return nil, err
	}
	for range clients {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
		if err != nil {
			e.stop()
			return nil, err
		}
		e.clients = append(e.clients, client)
	}
	return e, nil
}

func (e *etcdFan) stop() {
	for _, c := range e.clients {
		_ = c.Close() // its watches end
	}
	e.kill()
}

func (e *etcdFan) put(ctx context.Context, key string, value []byte) error {
	_, err := e.clients[0].Put(ctx, key, string(value))
	return err
}

func (e *etcdFan) follow(ctx context.Context, watchers int, events *atomic.Int64) error {
	for i := range watchers {
		watch := e.clients[i%len(e.clients)].Watch(ctx, fanPrefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		created, ok := <-watch
		if err := created.Err(); !ok || err != nil {
			return fmt.Errorf("watch %d did not begin: %w", i, err)
		}
		go func() {
			for answer := range watch {
				events.Add(int64(len(answer.Events)))
			}
		}()
	}
	return nil
}
