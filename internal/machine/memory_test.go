package machine_test

import (
	"errors"
	"os"
	"testing"
	"testing/fstest"

	"github.com/kvorum/kvorum/internal/machine"
)

const (
	mountV1   = "34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
	mountV2   = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	mountMore = "31 30 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\nnonsense\n"
	gibibyte  = "MemTotal:        1048576 kB\nMemFree:          1000 kB\n"
	unlimited = "9223372036854771712\n"
)

// TestFindMemory covers both versions of control groups, with files as kernels and
// container runtimes make them, on a machine with 1 GiB.
func TestFindMemory(t *testing.T) {
	cases := map[string]struct {
		groups string            // /proc/self/cgroup
		mounts string            // /proc/self/mountinfo
		limits map[string]string // files of the control groups
		want   int64
		source string
	}{
		"physical alone": {
			want: 1 << 30, source: "physical memory",
		},
		"v1, own group": {
			groups: "5:devices:/\n4:memory:/a/b\n", mounts: mountMore + mountV1,
			limits: map[string]string{
				"sys/fs/cgroup/memory/memory.limit_in_bytes":     unlimited,
				"sys/fs/cgroup/memory/a/memory.limit_in_bytes":   unlimited,
				"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "134217728\n",
			},
			want: 128 << 20, source: "cgroup /sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
		},
		"v1, no limit": {
			groups: "4:cpu,memory:/a\n", mounts: mountV1,
			limits: map[string]string{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": unlimited},
			want:   1 << 30, source: "physical memory",
		},
		"v1, a container that sees its group as the root and is told the host's path": {
			groups: "4:memory:/docker/0123\n", mounts: "34 30 0:31 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			limits: map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "200000000\n"},
			want:   200000000, source: "cgroup /sys/fs/cgroup/memory/memory.limit_in_bytes",
		},
		"v2, own group": {
			groups: "0::/system.slice/kvorum.service\n", mounts: mountV2,
			limits: map[string]string{
				"sys/fs/cgroup/system.slice/memory.max":                "max\n",
				"sys/fs/cgroup/system.slice/kvorum.service/memory.max": "268435456\n",
			},
			want: 256 << 20, source: "cgroup /sys/fs/cgroup/system.slice/kvorum.service/memory.max",
		},
		"v2, a parent's limit is lower": {
			groups: "0::/a/b/c\n", mounts: mountV2,
			limits: map[string]string{
				"sys/fs/cgroup/a/memory.max":     "100000000\n",
				"sys/fs/cgroup/a/b/memory.max":   "max\n",
				"sys/fs/cgroup/a/b/c/memory.max": "200000000\n",
			},
			want: 100000000, source: "cgroup /sys/fs/cgroup/a/memory.max",
		},
		"v2, a container with a namespace of its own": {
			groups: "0::/\n", mounts: mountV2,
			limits: map[string]string{"sys/fs/cgroup/memory.max": "134217728\n"},
			want:   128 << 20, source: "cgroup /sys/fs/cgroup/memory.max",
		},
		"v2, a group outside of the mount": {
			groups: "0::/../other\n", mounts: "30 23 0:26 /mine /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			limits: map[string]string{"sys/fs/cgroup/memory.max": "134217728\n"},
			want:   128 << 20, source: "cgroup /sys/fs/cgroup/memory.max",
		},
		"both versions at once": {
			groups: "4:memory:/a\n0::/b\n", mounts: mountV1 + "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			limits: map[string]string{
				"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "300000000\n",
				"sys/fs/cgroup/unified/b/memory.max":           "max\n",
			},
			want: 300000000, source: "cgroup /sys/fs/cgroup/memory/a/memory.limit_in_bytes",
		},
		"a limit above the machine's memory": {
			groups: "0::/a\n", mounts: mountV2,
			limits: map[string]string{"sys/fs/cgroup/a/memory.max": "4294967296\n"},
			want:   1 << 30, source: "physical memory",
		},
		"garbage": {
			groups: "x\n0::\n4:memory\n", mounts: mountV2 + " - \n",
			limits: map[string]string{"sys/fs/cgroup/memory.max": "99999999999999999999\n"},
			want:   1 << 30, source: "physical memory",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{"proc/meminfo": {Data: []byte(gibibyte)}}
			if c.groups != "" {
				root["proc/self/cgroup"] = &fstest.MapFile{Data: []byte(c.groups)}
				root["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte(c.mounts)}
			}
			for path, content := range c.limits {
				root[path] = &fstest.MapFile{Data: []byte(content)}
			}
			got, err := machine.FindMemory(root)
			if err != nil || got.Bytes != c.want || got.Source != c.source {
				t.Errorf("got %+v, %v, want %d bytes by %s", got, err, c.want, c.source)
			}
		})
	}
}

func TestFindMemory_Unknown(t *testing.T) {
	if _, err := machine.FindMemory(fstest.MapFS{}); !errors.Is(err, machine.ErrUnknown) {
		t.Errorf("got %v, want %v", err, machine.ErrUnknown)
	}
}

// TestFindMemory_Here shows that this machine's files are understood.
func TestFindMemory_Here(t *testing.T) {
	if _, err := os.Stat("/proc/meminfo"); err != nil {
		t.Skip("there is no /proc/meminfo here")
	}
	got, err := machine.FindMemory(os.DirFS("/"))
	if err != nil || got.Bytes < 1<<20 || got.Source == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRaiseDescriptors(t *testing.T) {
	got, err := machine.RaiseDescriptors()
	if errors.Is(err, machine.ErrUnknown) {
		t.Skip("this system tells no limit of descriptors")
	}
	if err != nil || got.Limit < 1 || got.Limit != got.Hard {
		t.Errorf("got %+v, %v, want the hard limit", got, err)
	}
	open, err := machine.OpenDescriptors()
	if errors.Is(err, machine.ErrUnknown) {
		return
	}
	if err != nil || open < 3 || open > got.Limit {
		t.Errorf("got %d open descriptors, %v", open, err)
	}
}
