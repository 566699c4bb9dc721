//go:build linux

package lab_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/test/chaos/lab"
)

// root is the directory of docker-compose.yml.
var root = filepath.Join("..", "..", "..")

// openDocker opens a Lab of containers, or skips the test if no engine answers.
func openDocker(t *testing.T, program string) lab.Lab {
	t.Helper()
	began := time.Now()
	l, err := lab.OpenDocker(t.Context(), lab.DockerConfig{Root: root, Program: program})
	if errors.Is(err, lab.ErrNoEngine) {
		t.Skipf("SKIPPED: %v", err)
	}
	must(t, err)
	t.Logf("opened in %v", time.Since(began))
	return l
}

// needEngine skips the test if no engine answers. It opens a Lab of an empty directory, which
// fails before anything is built.
func needEngine(t *testing.T) {
	t.Helper()
	l, err := lab.OpenDocker(t.Context(), lab.DockerConfig{Root: t.TempDir()})
	if errors.Is(err, lab.ErrNoEngine) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err == nil {
		must(t, l.Close())
		t.Fatal("a directory without docker-compose.yml is a cluster")
	}
}

// mustDocker opens a Lab of containers and closes it with the test. Then nothing of the Lab
// may be left.
func mustDocker(t *testing.T) lab.Lab {
	t.Helper()
	l := openDocker(t, mustProgram(t))
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range l.Hosts() {
				t.Logf("log of %s:\n%s", h.Name(), h.Log(4000))
			}
		}
		began := time.Now()
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		t.Logf("closed in %v", time.Since(began))
		nothingLeft(t)
	})
	return l
}

// buildProgram builds the binary of the image, once for all tests. TestMain removes it.
var buildProgram = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(os.TempDir(), "kvorum")
	cmd := exec.Command("go", "build", "-o", binary, "github.com/kvorum/kvorum/cmd/kvorum")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
})

// mustProgram returns the path of the binary of the image.
func mustProgram(t testing.TB) string {
	t.Helper()
	binary, err := buildProgram()
	must(t, err)
	return binary
}

// nothingLeft fails the test if anything has the name of a lab. It checks again later,
// because the engine takes some time to remove things.
func nothingLeft(t testing.TB) {
	t.Helper()
	testkit.Eventually(t, time.Minute, "nothing is left", func() error {
		for _, line := range []string{
			"docker container ls --all --format {{.Names}}", "docker network ls --format {{.Name}}", "docker volume ls --format {{.Name}}",
			"docker image ls --format {{.Repository}}", "iptables -S", "pgrep -a docker", "ls " + os.TempDir(),
		} {
			out, _ := exec.Command(strings.Fields(line)[0], strings.Fields(line)[1:]...).Output() // some machines have no such command
			for thing := range strings.Lines(string(out)) {
				if strings.Contains(thing, "kvchaos-") && !strings.Contains(thing, "kvchaos-test-") {
					return fmt.Errorf("%s: %s", line, thing)
				}
			}
		}
		return nil
	})
}

// TestDocker breaks the cluster of docker-compose.yml in each way there is, one after
// the other, because opening the Lab takes long.
func TestDocker(t *testing.T) {
	l := mustDocker(t)
	for _, h := range l.Hosts() {
		if h.Running() {
			t.Errorf("%s runs before it is started", h.Name())
		}
	}
	began := time.Now()
	each(t, l.Hosts(), func(h lab.Host) error { return h.Start(t.Context()) })
	leader(t, l.Hosts())
	t.Logf("all serve %v after their start", time.Since(began))
	for _, test := range []struct {
		name string
		run  func(t *testing.T, l lab.Lab)
	}{
		{"LeaderCutOff", testDockerCut},
		{"LeaderUnheard", testDockerCutOneWay},
		{"CutOutlivesRestart", testDockerCutRestart},
		{"Loss", testDockerLoss},
		{"Pause", testDockerPause},
		{"Kill", testDockerKill},
		{"Crash", testDockerCrash},
		{"Readdress", testDockerReaddress},
		{"Unplug", testDockerUnplug},
		{"Wipe", testDockerWipe},
		{"Limits", testDockerLimits},
		{"AllRestarted", testDockerAll},
		{"Left", testDockerLeft},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			leader(t, l.Hosts())
			settled := time.Since(began)
			forget(l)
			test.run(t, l)
			t.Logf("%v, after %v until all agreed", time.Since(began)-settled, settled)
		})
		if t.Failed() {
			break
		}
	}
}

// each calls do for all hosts at the same time.
func each(t *testing.T, hosts []lab.Host, do func(h lab.Host) error) {
	t.Helper()
	var all sync.WaitGroup
	for _, h := range hosts {
		all.Go(func() {
			if err := do(h); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// others returns all hosts except one.
func others(l lab.Lab, but lab.Host) []lab.Host {
	return slices.DeleteFunc(slices.Clone(l.Hosts()), func(h lab.Host) bool { return h == but })
}

func testDockerCut(t *testing.T, l lab.Lab) {
	old := leader(t, l.Hosts())
	for _, h := range others(l, old) {
		must(t, l.Cut(t.Context(), old, h))
		must(t, l.Cut(t.Context(), h, old))
	}
	if now := leader(t, others(l, old)); now == old {
		t.Errorf("%s leads on", old.Name())
	}
	if code := get(t, old, "/livez"); code != http.StatusOK {
		t.Errorf("clients don't reach what is cut off: %d", code)
	}
	must(t, l.Heal(t.Context()))
	leader(t, l.Hosts())
}

func testDockerCutOneWay(t *testing.T, l lab.Lab) {
	old := leader(t, l.Hosts())
	for _, h := range others(l, old) {
		must(t, l.Cut(t.Context(), old, h))
	}
	if now := leader(t, others(l, old)); now == old {
		t.Errorf("%s leads on", old.Name())
	}
	must(t, l.Heal(t.Context()))
}

// testDockerCutRestart restarts two containers so that they get each other's addresses,
// which the engine assigns in the order of the starts. The host that is cut off stays cut
// off.
func testDockerCutRestart(t *testing.T, l lab.Lab) {
	leads := leader(t, l.Hosts())
	rest := others(l, leads)
	cut, free := rest[0], rest[1]
	for _, h := range others(l, cut) {
		must(t, l.Cut(t.Context(), cut, h))
		must(t, l.Cut(t.Context(), h, cut))
	}
	before := map[lab.Host]string{cut: addressOf(t, cut), free: addressOf(t, free)}
	if before[rest[0]] < before[rest[1]] {
		slices.Reverse(rest) // the host with the higher address gets the lower one
	}
	for _, h := range rest {
		must(t, h.Stop(t.Context()))
	}
	for _, h := range rest {
		must(t, h.Start(t.Context()))
	}
	if addressOf(t, cut) != before[free] || addressOf(t, free) != before[cut] {
		t.Logf("this engine has not exchanged their addresses %v", before)
	}
	leader(t, []lab.Host{leads, free})
	if code := get(t, cut, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("%s is cut off, and is ready: %d", cut.Name(), code)
	}
	must(t, l.Heal(t.Context()))
}

func testDockerLoss(t *testing.T, l lab.Lab) {
	leads := leader(t, l.Hosts())
	for _, h := range others(l, leads) {
		must(t, l.Shape(t.Context(), leads, h, lab.Shape{Loss: 0.05}))
	}
	for i := range 20 {
		put(t, leads, fmt.Sprint("lossy", i))
	}
	if err := l.Shape(t.Context(), leads, others(l, leads)[0], lab.Shape{Delay: time.Second}); !errors.Is(err, lab.ErrNotCovered) {
		t.Errorf("a delay: %v", err)
	}
	must(t, l.Heal(t.Context()))
}

func testDockerPause(t *testing.T, l lab.Lab) {
	old := leader(t, l.Hosts())
	must(t, old.Pause(t.Context()))
	if !old.Running() {
		t.Error("a paused process does not count as one that runs")
	}
	if now := leader(t, others(l, old)); now == old {
		t.Errorf("%s leads on", old.Name())
	}
	must(t, old.Resume(t.Context()))
	leader(t, l.Hosts())
	must(t, old.Pause(t.Context()))
	must(t, old.Kill(t.Context()))
	wantExit(t, l, old, lab.Exit{Code: -1, Signal: "killed", Asked: true})
	must(t, old.Start(t.Context()))
}

func testDockerKill(t *testing.T, l lab.Lab) {
	old := leader(t, l.Hosts())
	must(t, old.Kill(t.Context()))
	wantExit(t, l, old, lab.Exit{Code: -1, Signal: "killed", Asked: true})
	leader(t, others(l, old))
	if old.Running() {
		t.Error("the engine has started what was killed")
	}
	must(t, old.Kill(t.Context())) // nothing
	must(t, old.Start(t.Context()))
	must(t, old.Start(t.Context())) // nothing
	leader(t, l.Hosts())
	must(t, old.Stop(t.Context()))
	wantExit(t, l, old, lab.Exit{Asked: true})
	if err := old.Pause(t.Context()); !errors.Is(err, lab.ErrNotRunning) {
		t.Errorf("pause what does not run: %v", err)
	}
	must(t, old.Start(t.Context()))
	if err := old.Wipe(t.Context()); !errors.Is(err, lab.ErrRunning) {
		t.Errorf("wipe what runs: %v", err)
	}
}

// testDockerCrash makes the process end with an error's exit code. The engine starts it
// again.
func testDockerCrash(t *testing.T, l lab.Lab) {
	h := l.Hosts()[1]
	want := lab.Exit{Code: 2}
	crash(t, h)
	wantExit(t, l, h, want)
	leader(t, l.Hosts())
	for _, kill := range []bool{true, false, true} { // the engine waits longer each time
		crash(t, h)
		wantExit(t, l, h, want)
		if kill {
			must(t, h.Kill(t.Context()))
			if h.Running() {
				t.Error("it runs after Kill")
			}
		}
		forget(l)
		must(t, h.Start(t.Context()))
		if !h.Running() {
			t.Error("it does not run after Start")
		}
		forget(l)
	}
	leader(t, l.Hosts())
}

// forget takes the remaining ends of processes.
func forget(l lab.Lab) {
	for len(l.Exits()) > 0 {
		<-l.Exits()
	}
}

// crash ends the container's process by a signal without the engine. A Go program prints
// its goroutines and ends with 2.
func crash(t *testing.T, h lab.Host) {
	t.Helper()
	out, err := exec.Command("docker", "container", "inspect", "--format", "{{.State.Pid}}", containerOf(t, h)).Output()
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	must(t, err)
	if pid <= 1 {
		t.Fatalf("%s has no process", h.Name())
	}
	must(t, unix.Kill(pid, unix.SIGQUIT))
}

// containerOf returns the name of a host's container.
func containerOf(t *testing.T, h lab.Host) string {
	t.Helper()
	out, err := exec.Command("docker", "container", "ls", "--all", "--quiet", "--filter", fmt.Sprintf("label=com.docker.compose.project=kvchaos-%d", os.Getpid()),
		"--filter", "label=com.docker.compose.service="+h.Name()).Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// addressOf returns a container's address.
func addressOf(t *testing.T, h lab.Host) string {
	t.Helper()
	out, err := exec.Command("docker", "container", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", containerOf(t, h)).Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

func testDockerReaddress(t *testing.T, l lab.Lab) {
	for _, h := range []lab.Host{leader(t, l.Hosts()), others(l, leader(t, l.Hosts()))[0]} {
		before := addressOf(t, h)
		must(t, h.Stop(t.Context()))
		must(t, h.Readdress(t.Context()))
		must(t, h.Start(t.Context()))
		if after := addressOf(t, h); after == before || after == "" {
			t.Errorf("address %q, as before", after)
		}
		leader(t, l.Hosts())
	}
}

func testDockerUnplug(t *testing.T, l lab.Lab) {
	old := leader(t, l.Hosts()).(lab.Unplugger)
	before := addressOf(t, old)
	must(t, old.Unplug(t.Context()))
	leader(t, others(l, old))
	if !old.Running() {
		t.Error("a process without a network does not count as one that runs")
	}
	must(t, old.Plug(t.Context()))
	if after := addressOf(t, old); after == before || after == "" {
		t.Errorf("address %q, as before", after)
	}
	leader(t, l.Hosts())
}

func testDockerWipe(t *testing.T, l lab.Lab) {
	h := others(l, leader(t, l.Hosts()))[0]
	put(t, h, "before the wipe")
	must(t, h.Stop(t.Context()))
	must(t, h.Wipe(t.Context()))
	must(t, h.Start(t.Context()))
	leader(t, l.Hosts())
	testkit.Eventually(t, time.Minute, "the value is back", func() error {
		if code := get(t, h, "/kv/before%20the%20wipe?consistency=stale"); code != http.StatusOK {
			return fmt.Errorf("status %d", code)
		}
		return nil
	})
	if !strings.Contains(h.Log(1<<20), "belongs to a cluster now") {
		t.Error("it had not forgotten its cluster")
	}
}

func testDockerLimits(t *testing.T, l lab.Lab) {
	h := others(l, leader(t, l.Hosts()))[0]
	took, err := h.Resources()
	must(t, err)
	if took.Resident < 1<<20 || took.Descriptors < 5 {
		t.Errorf("resources: %+v", took)
	}
	must(t, h.FailSyscalls(t.Context(), lab.SyscallFault{Calls: "fdatasync", Delay: 200 * time.Millisecond}))
	put(t, h, "beside a slow disk")
	must(t, h.MendSyscalls(t.Context()))
	must(t, h.FailSyscalls(t.Context(), lab.SyscallFault{Calls: "fdatasync", Errno: "EIO"}))
	put(t, leader(t, others(l, h)), "beside a broken disk")
	wantExit(t, l, h, lab.Exit{Code: 1})
	must(t, h.MendSyscalls(t.Context()))
	leader(t, l.Hosts())
	must(t, h.LimitFiles(t.Context(), 8))
	must(t, h.LimitFiles(t.Context(), 0))
	must(t, h.LimitMemory(t.Context(), 32<<20))
	for i := 0; h.Running() && i < 100; i++ {
		put(t, leader(t, others(l, h)), fmt.Sprint("large", i), strings.Repeat("x", 1<<20))
	}
	wantExit(t, l, h, lab.Exit{Code: -1, Signal: "killed"})
	// The engine refuses this between the death of a container and the next start of it.
	testkit.Eventually(t, 20*time.Second, "its memory is limited no more", func() error { return h.LimitMemory(t.Context(), 0) })
	for what, err := range map[string]error{
		"power loss": h.LosePower(t.Context()), "full disk": h.FillDisk(t.Context(), 0), "clock": h.SkewClock(t.Context(), time.Hour),
	} {
		if !errors.Is(err, lab.ErrNotCovered) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func testDockerAll(t *testing.T, l lab.Lab) {
	put(t, l.Hosts()[0], "before the restart")
	each(t, l.Hosts(), func(h lab.Host) error { return h.Kill(t.Context()) })
	each(t, l.Hosts(), func(h lab.Host) error { return h.Start(t.Context()) })
	leader(t, l.Hosts())
	if code := get(t, l.Hosts()[2], "/kv/before%20the%20restart"); code != http.StatusOK {
		t.Errorf("the value is gone: %d", code)
	}
}

// testDockerLeft makes a network with the Lab's name that lacks its label. At the end,
// mustDocker checks that the Lab has removed it too.
func testDockerLeft(t *testing.T, _ lab.Lab) {
	out, err := exec.Command("docker", "network", "create", fmt.Sprintf("kvchaos-%d_left", os.Getpid())).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// wantExit takes the next end of a process, which must be like want.
func wantExit(t *testing.T, l lab.Lab, h lab.Host, want lab.Exit) {
	t.Helper()
	select {
	case got := <-l.Exits():
		if got.Host != h || got.Code != want.Code || got.Signal != want.Signal || got.Asked != want.Asked {
			t.Errorf("exit of %s: code %d, %q, asked %v; want of %s: %d, %q, %v",
				got.Host.Name(), got.Code, got.Signal, got.Asked, h.Name(), want.Code, want.Signal, want.Asked)
		}
		if got.Log == "" {
			t.Error("the end comes without its log")
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the end of %s is not reported", h.Name())
	}
}

// get returns the status of the answer.
func get(t *testing.T, h lab.Host, path string) int {
	t.Helper()
	resp, err := http.Get(h.URL() + path)
	must(t, err)
	defer resp.Body.Close()
	return resp.StatusCode
}

// put writes a key until that is acknowledged.
func put(t *testing.T, h lab.Host, key string, value ...string) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "put "+key, func() error {
		req, err := http.NewRequest(http.MethodPut, h.URL()+"/kv/"+strings.ReplaceAll(key, " ", "%20"), strings.NewReader(strings.Join(value, "")))
		must(t, err)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// TestDocker_NoEngine opens a Lab without an engine.
func TestDocker_NoEngine(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	if _, err := lab.OpenDocker(t.Context(), lab.DockerConfig{Root: root}); !errors.Is(err, lab.ErrNoEngine) {
		t.Errorf("got %v", err)
	}
}
