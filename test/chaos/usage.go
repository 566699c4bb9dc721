package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kvorum/kvorum/kv"
	"github.com/kvorum/kvorum/test/chaos/lab"
	"github.com/kvorum/kvorum/test/chaos/load"
)

// askTimeout is the maximum time of a question to a node.
const askTimeout = 10 * time.Second

// usage is the resources of a node. disk is that of its log and snapshots, in bytes like
// resident.
type usage struct {
	name                                    string
	resident, descriptors, goroutines, disk float64
}

// figures are the parts of a usage, each with the rise that is not a leak, in addition to a
// fifth of it.
var figures = []struct {
	name  string
	slack float64
	of    func(usage) float64
}{
	{"resident memory", 16 << 20, func(u usage) float64 { return u.resident }},
	{"descriptors", 12, func(u usage) float64 { return u.descriptors }},
	{"goroutines", 20, func(u usage) float64 { return u.goroutines }},
	{"disk", 64 << 20, func(u usage) float64 { return u.disk }},
}

// usageOf returns the present usage of each node.
func usageOf(ctx context.Context, hosts []lab.Host) (all []usage, err error) {
	for _, h := range hosts {
		has, err := h.Resources()
		if err != nil {
			return nil, fmt.Errorf("resources of %s: %w", h.Name(), err)
		}
		u := usage{name: h.Name(), resident: float64(has.Resident), descriptors: float64(has.Descriptors)}
		if u.goroutines, err = goroutines(ctx, h); err != nil {
			return nil, err
		}
		if u.disk, err = onDisk(ctx, h); err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// goroutines returns the number of a node's goroutines, from its metrics.
func goroutines(ctx context.Context, h lab.Host) (float64, error) {
	page, err := ask(ctx, http.MethodGet, h.URL()+"/metrics")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(page)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("metrics of %s: no go_goroutines", h.Name())
}

// statusOf asks a node for its status.
func statusOf(ctx context.Context, h lab.Host) (s kv.Status, err error) {
	page, err := ask(ctx, http.MethodGet, h.URL()+"/status")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(page, &s); err != nil {
		return s, fmt.Errorf("status of %s: %w", h.Name(), err)
	}
	return s, nil
}

// onDisk returns the bytes of a node's log and snapshots.
func onDisk(ctx context.Context, h lab.Host) (float64, error) {
	s, err := statusOf(ctx, h)
	if err != nil {
		return 0, err
	}
	if s.Disk == nil {
		return 0, fmt.Errorf("status of %s: nothing of its disk", h.Name())
	}
	return float64(s.Disk.LogBytes + s.Disk.SnapshotsBytes), nil
}

// deleteAll deletes all keys that begin with prefix.
func deleteAll(ctx context.Context, h lab.Host, prefix string) error {
	page, err := ask(ctx, http.MethodGet, h.URL()+"/kv/?keys_only=true&prefix="+url.QueryEscape(prefix))
	if err != nil {
		return err
	}
	return load.ReadList(bytes.NewReader(page), func(item load.Item) error {
		_, err := ask(ctx, http.MethodDelete, h.URL()+"/kv/"+url.PathEscape(item.Key))
		return err
	})
}

// ask makes a request and returns the body of its answer, which must be a success.
func ask(ctx context.Context, method, target string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/x-ndjson") // of a list
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.200s", method, target, resp.Status, body)
	}
	return body, err
}
