package machine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Memory is a limit on memory, and its source.
type Memory struct {
	Bytes  int64
	Source string // such as "cgroup /sys/fs/cgroup/memory/kvorum/memory.limit_in_bytes"
}

// FindMemory returns the lowest limit on this process's memory that the operating system
// reports. There are the limits of its control group and of that group's parents, in both
// versions of control groups, and the machine's memory. root is the root of the file
// system. The error is ErrUnknown if no limit is known.
func FindMemory(root fs.FS) (Memory, error) {
	least, found := physicalMemory(root)
	for _, file := range cgroupLimitFiles(root) {
		bytes, ok := readLimit(root, file)
		if ok && (!found || bytes < least.Bytes) {
			least, found = Memory{Bytes: bytes, Source: "cgroup /" + file}, true
		}
	}
	if !found {
		return Memory{}, fmt.Errorf("limit of memory: %w", ErrUnknown)
	}
	return least, nil
}

// physicalMemory returns the machine's memory, from /proc/meminfo.
func physicalMemory(root fs.FS) (Memory, bool) {
	for _, line := range readLines(root, "proc/meminfo") {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "MemTotal:" || fields[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 53)
		return Memory{Bytes: kib << 10, Source: "physical memory"}, err == nil && kib > 0
	}
	return Memory{}, false
}

// cgroupMount is a mounted hierarchy of control groups that has memory's limits.
type cgroupMount struct {
	point string // path of the mount, without the leading slash
	root  string // the group that is mounted there, as /proc/self/cgroup names groups
	file  string // name of a group's file with its limit
}

// cgroupLimitFiles returns the paths of the files, without the leading slash, that
// may hold a limit of this process's groups.
func cgroupLimitFiles(root fs.FS) []string {
	groups := memoryGroups(root)
	var files []string
	for _, m := range cgroupMounts(root) {
		group, ok := groups[m.file]
		if !ok {
			continue
		}
		// A container may have its own group as the root of the mount, although
		// /proc/self/cgroup has the group's path on the host.
		below, inside := strings.CutPrefix(group, strings.TrimSuffix(m.root, "/"))
		if !inside || below != "" && below[0] != '/' {
			below = "/"
		}
		for dir := path.Clean("/" + below); ; dir = path.Dir(dir) {
			files = append(files, path.Join(m.point, dir, m.file))
			if dir == "/" {
				break
			}
		}
	}
	return files
}

// Names of the files that hold a group's limit.
const (
	limitFileV1 = "memory.limit_in_bytes"
	limitFileV2 = "memory.max"
)

// memoryGroups returns the path of this process's group in each hierarchy that may
// limit memory, by the name of the limit's file.
func memoryGroups(root fs.FS) map[string]string {
	groups := make(map[string]string)
	for _, line := range readLines(root, "proc/self/cgroup") {
		parts := strings.SplitN(line, ":", 3) // number, controllers, path
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			groups[limitFileV2] = parts[2]
		case hasWord(parts[1], "memory"):
			groups[limitFileV1] = parts[2]
		}
	}
	return groups
}

// cgroupMounts returns the mounts of control groups, from /proc/self/mountinfo.
func cgroupMounts(root fs.FS) []cgroupMount {
	var mounts []cgroupMount
	for _, line := range readLines(root, "proc/self/mountinfo") {
		before, after, ok := strings.Cut(line, " - ")
		mount, filesystem := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(filesystem) < 3 {
			continue
		}
		m := cgroupMount{root: unescapeMount(mount[3]), point: strings.TrimPrefix(unescapeMount(mount[4]), "/")}
		switch {
		case filesystem[0] == "cgroup2":
			m.file = limitFileV2
		case filesystem[0] == "cgroup" && hasWord(filesystem[2], "memory"):
			m.file = limitFileV1
		default:
			continue
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// unescapeMount undoes the kernel's escapes of a path in mountinfo.
func unescapeMount(p string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(p)
}

// hasWord reports whether word is in a comma separated list.
func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// noLimit is the minimum number that means no limit: version 1 of control groups shows
// the greatest whole number of pages.
const noLimit = 1 << 60

// readLimit reads a file that holds a limit; false means that there is none.
func readLimit(root fs.FS, name string) (int64, bool) {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false // the root of a hierarchy has no such file
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return n, err == nil && n < noLimit // the text "max" is an error
}

// readLines returns the lines of a file, or none if it can't be read.
func readLines(root fs.FS, name string) []string {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	var lines []string
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}
