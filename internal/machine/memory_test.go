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
// container runtimes make them.
func TestFindMemory(t *testing.T) {
	cases := map[string]struct {
		files  map[string]string
		want   int64
		source string
	}{
		"physical alone": {
			files: map[string]string{"proc/meminfo": gibibyte},
			want:  1 << 30, source: "physical memory",
		},
		"v1, own group": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "5:devices:/\n4:memory:/a/b\n", "proc/self/mountinfo": mountMore + mountV1,
				"sys/fs/cgroup/memory/memory.limit_in_bytes":     unlimited,
				"sys/fs/cgroup/memory/a/memory.limit_in_bytes":   unlimited,
				"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "134217728\n",
			},
			want: 128 << 20, source: "cgroup /sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
		},
		"v1, no limit": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "4:cpu,memory:/a\n", "proc/self/mountinfo": mountV1,
				"sys/fs/cgroup/memory/a/memory.limit_in_bytes": unlimited,
			},
			want: 1 << 30, source: "physical memory",
		},
		"v1, a container that sees its group as the root and is told the host's path": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "4:memory:/docker/0123\n",
				"proc/self/mountinfo":                        "34 30 0:31 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "200000000\n",
			},
			want: 200000000, source: "cgroup /sys/fs/cgroup/memory/memory.limit_in_bytes",
		},
		"v2, own group": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "0::/system.slice/kvorum.service\n", "proc/self/mountinfo": mountV2,
				"sys/fs/cgroup/system.slice/memory.max":                "max\n",
				"sys/fs/cgroup/system.slice/kvorum.service/memory.max": "268435456\n",
			},
			want: 256 << 20, source: "cgroup /sys/fs/cgroup/system.slice/kvorum.service/memory.max",
		},
		"v2, a parent's limit is lower": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "0::/a/b/c\n", "proc/self/mountinfo": mountV2,
				"sys/fs/cgroup/a/memory.max":     "100000000\n",
				"sys/fs/cgroup/a/b/memory.max":   "max\n",
				"sys/fs/cgroup/a/b/c/memory.max": "200000000\n",
			},
			want: 100000000, source: "cgroup /sys/fs/cgroup/a/memory.max",
		},
		"v2, a container with a namespace of its own": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2,
				"sys/fs/cgroup/memory.max": "134217728\n",
			},
			want: 128 << 20, source: "cgroup /sys/fs/cgroup/memory.max",
		},
		"v2, a group outside of the mount": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "0::/../other\n",
				"proc/self/mountinfo":      "30 23 0:26 /mine /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
				"sys/fs/cgroup/memory.max": "134217728\n",
			},
			want: 128 << 20, source: "cgroup /sys/fs/cgroup/memory.max",
		},
		"both versions at once": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "4:memory:/a\n0::/b\n",
				"proc/self/mountinfo":                          mountV1 + "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
				"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "300000000\n",
				"sys/fs/cgroup/unified/b/memory.max":           "max\n",
			},
			want: 300000000, source: "cgroup /sys/fs/cgroup/memory/a/memory.limit_in_bytes",
		},
		"a limit above the machine's memory": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": mountV2,
				"sys/fs/cgroup/a/memory.max": "4294967296\n",
			},
			want: 1 << 30, source: "physical memory",
		},
		"garbage": {
			files: map[string]string{
				"proc/meminfo": gibibyte, "proc/self/cgroup": "x\n0::\n4:memory\n", "proc/self/mountinfo": mountV2 + " - \n",
				"sys/fs/cgroup/memory.max": "99999999999999999999\n",
			},
			want: 1 << 30, source: "physical memory",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := make(fstest.MapFS)
			for path, content := range c.files {
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
