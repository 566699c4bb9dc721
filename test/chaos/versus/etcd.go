package versus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

const (
	// etcdModule is the path of etcd's module.
	etcdModule = "go.etcd.io/etcd/server/v3"
	// EtcdVersion is the version of that module.
	EtcdVersion = "v3.7.3"
)

// Etcd is the Contender of an etcd binary. All of its settings except names, addresses and
// directories are the defaults.
func Etcd(ctx context.Context, path string) (Contender, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return Contender{}, fmt.Errorf("version of %s: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	version, ok := strings.CutPrefix(line, "etcd Version: ")
	if !ok {
		return Contender{}, fmt.Errorf("%s is no etcd: it says %q", path, line)
	}
	program := lab.Program{Path: path, Args: etcdArgs}
	return Contender{Name: "etcd", Version: version, Program: program, put: etcdPut, leads: etcdLeads}, nil
}

// BuildEtcd builds etcd's EtcdVersion in a directory, in a module of its own, and returns
// the binary's path. The go command gets the module from its usual source.
func BuildEtcd(ctx context.Context, dir string) (string, error) {
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module etcd\n"), 0o666); err != nil {
		return "", fmt.Errorf("module for etcd: %w", err)
	}
	path := filepath.Join(dir, "etcd")
	for _, args := range [][]string{
		{"get", etcdModule + "@" + EtcdVersion},
		{"build", "-o", path, etcdModule},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return path, nil
}

// etcdArgs returns the arguments of etcd at a place.
func etcdArgs(own lab.Place, all []lab.Place) []string {
	var initial []string
	for _, p := range all {
		if p.Initial {
			initial = append(initial, p.Name+"=http://"+p.PeerAt)
		}
	}
	return []string{
		"--name", own.Name, "--data-dir", own.Data,
		"--listen-client-urls", "http://" + own.HTTP, "--advertise-client-urls", "http://" + own.HTTP,
		"--listen-peer-urls", "http://" + own.Peer, "--initial-advertise-peer-urls", "http://" + own.PeerAt,
		"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-state", "new",
	}
}

func etcdPut(ctx context.Context, url, key string, value []byte) (*http.Request, error) {
	return etcdCall(ctx, url+"/v3/kv/put", struct {
		Key   []byte `json:"key"` // base64, the JSON form of bytes
		Value []byte `json:"value"`
	}{[]byte(key), value})
}

// etcdLeads compares the leader that a node knows with the node itself.
func etcdLeads(ctx context.Context, client *http.Client, url string) (bool, error) {
	req, err := etcdCall(ctx, url+"/v3/maintenance/status", struct{}{})
	if err != nil {
		return false, err
	}
	var status struct {
		Header struct {
			Member string `json:"member_id"`
		} `json:"header"`
		Leader string `json:"leader"` // "0" or "" means none
	}
	if err := ask(client, req, &status); err != nil {
		return false, err
	}
	if status.Header.Member == "" {
		return false, errors.New("the status names no member")
	}
	return status.Leader == status.Header.Member, nil
}

// etcdCall is a call of the JSON gateway.
func etcdCall(ctx context.Context, url string, of any) (*http.Request, error) {
	body, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}
