package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// compose runs docker-compose, or the compose plugin, on the project's file.
type compose struct {
	t    *testing.T
	argv []string
	root string
	base int // the first of the three ports for HTTP
}

// newCompose returns a project of its own. It skips the test if no engine answers.
func newCompose(t *testing.T) *compose {
	t.Helper()
	if out, err := exec.Command("docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no Docker engine answers here (%v: %s)", err, strings.TrimSpace(string(out)))
	}
	var argv []string
	if exec.Command("docker", "compose", "version").Run() == nil {
		argv = []string{"docker", "compose"}
	} else if exec.Command("docker-compose", "version").Run() == nil {
		argv = []string{"docker-compose"}
	} else {
		t.Skip("SKIPPED: a Docker engine answers, but there is neither 'docker compose' nor docker-compose")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return &compose{t: t, argv: append(argv, "-p", fmt.Sprintf("kvorum-test-%d", os.Getpid())), root: root, base: freeBase(t)}
}

func (c *compose) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *compose) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	argv := append(c.argv[1:len(c.argv):len(c.argv)], args...)
	cmd := exec.CommandContext(ctx, c.argv[0], argv...)
	cmd.Dir = c.root
	for i := range 3 {
		cmd.Env = append(cmd.Environ(), fmt.Sprintf("KVORUM_N%d_PORT=%d", i+1, c.base+i))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestCompose runs the cluster of docker-compose.yml: a put on one node, a get from
// another, a container killed, a get again, the container started again. A node whose
// volume was removed heals by itself.
func TestCompose(t *testing.T) {
	t.Parallel()
	c := newCompose(t)
	if out, err := exec.Command("make", "-C", c.root, "build").CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := c.try("logs", "--tail", "60")
			t.Logf("containers:\n%s", logs)
		}
		if out, err := c.try("down", "--volumes", "--rmi", "local"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	c.run("up", "-d", "--build")
	for i := range 3 {
		c.waitReady(i + 1)
	}
	c.put(2, "greeting", "hello")
	c.get(3, "greeting", "hello")

	c.run("kill", "-s", "SIGKILL", "n1")
	c.get(2, "greeting", "hello")
	c.put(3, "second", "written with n1 down")
	c.run("start", "n1")
	c.waitReady(1)
	c.get(1, "second", "written with n1 down")

	before := c.members(1)
	c.run("rm", "--stop", "--force", "n3")
	volume := strings.TrimSpace(c.volumeOf("n3"))
	if out, err := exec.Command("docker", "volume", "rm", volume).CombinedOutput(); err != nil {
		t.Fatalf("remove volume of n3: %v %s", err, out)
	}
	c.run("up", "-d", "n3")
	c.waitReady(3)
	testkit.Eventually(t, 60*time.Second, "n3 votes again", func() error {
		if after := c.members(1); after != before {
			return fmt.Errorf("members: %s, before: %s", after, before)
		}
		return nil
	})
	c.get(3, "second", "written with n1 down")
}

func (c *compose) url(node int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.base+node-1, path)
}

func (c *compose) waitReady(node int) {
	c.t.Helper()
	testkit.Eventually(c.t, 60*time.Second, fmt.Sprintf("n%d is ready", node), func() error {
		resp, err := http.Get(c.url(node, "/readyz"))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
}

// put writes. It tries again only if the server says that the write was not done.
func (c *compose) put(node int, key, value string) {
	c.t.Helper()
	testkit.Eventually(c.t, 30*time.Second, "put "+key, func() error {
		req, err := http.NewRequest(http.MethodPut, c.url(node, "/kv/"+key), strings.NewReader(value))
		if err != nil {
			return err
		}
		resp, err := do(req)
		if err == nil && resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusNoContent {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	})
}

func (c *compose) get(node int, key, want string) {
	c.t.Helper()
	testkit.Eventually(c.t, 30*time.Second, "get "+key, func() error {
		resp, err := http.Get(c.url(node, "/kv/"+key))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && string(body) != want {
			err = fmt.Errorf("%s %q", resp.Status, body)
		}
		return err
	})
}

// members lists the members and whether they vote, as a node sees them.
func (c *compose) members(node int) string {
	resp, err := http.Get(c.url(node, "/status"))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var status kv.Status
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", status.Members)
}

// volumeOf returns the name of a node's volume.
func (c *compose) volumeOf(node string) string {
	c.t.Helper()
	project := c.argv[len(c.argv)-1]
	out, err := exec.Command("docker", "volume", "ls", "--quiet", "--filter", "name="+project+"_"+node).Output()
	if err != nil {
		c.t.Fatalf("volumes: %v", err)
	}
	return string(out)
}
