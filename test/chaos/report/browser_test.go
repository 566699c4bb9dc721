package report_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// browser is a headless Chromium with one page. It speaks the DevTools protocol, whose
// messages are JSON that ends with a zero byte, over two pipes. It is for one goroutine.
type browser struct {
	t       testing.TB
	in      *os.File
	out     *bufio.Reader
	session string // of the page, "" before there is one
	last    int    // id of the newest call
	urls    []string
	loads   int // documents that were loaded since the browser began
}

// message is an answer or an event.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Params struct {
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
	} `json:"params"`
}

// openBrowser starts a browser that ends with the test. It skips the test if this machine
// has no browser.
func openBrowser(t testing.TB) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "google-chrome", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Skip("there is no chromium, google-chrome or chromium-browser here: the page is not looked at")
	}
	// A browser that hangs is killed, and the test fails.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	theirIn, in := pipe(t)
	out, theirOut := pipe(t)
	args := []string{"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + t.TempDir(), "--no-first-run",
		"--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
		"--hide-scrollbars", "--disable-features=IsolateSandboxedIframes"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // as root it refuses to run with a sandbox
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{t: t, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		b.session = ""
		b.call("Browser.close", nil, nil)
		_ = cmd.Wait() // its exit code is that of the last page
		cancel()
	})
	b.attach()
	return b
}

// pipe returns both ends of a pipe, which the test closes.
func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// attach makes the page.
func (b *browser) attach() {
	b.t.Helper()
	var made struct{ TargetID, SessionID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &made)
	b.call("Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &made)
	b.session = made.SessionID
	b.call("Page.enable", nil, nil)
	b.call("Network.enable", nil, nil)
}

// call asks for something and reads its answer into result, unless that is nil.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.last++
	ask := map[string]any{"id": b.last, "method": method, "params": params}
	if params == nil {
		delete(ask, "params")
	}
	if b.session != "" {
		ask["sessionId"] = b.session
	}
	data, err := json.Marshal(ask)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(data, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		m := b.read()
		switch {
		case m.ID != b.last:
			continue
		case m.Error != nil:
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		case result == nil:
			return
		}
		if err := json.Unmarshal(m.Result, result); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		return
	}
}

// read returns the next message, and keeps the contents of events.
func (b *browser) read() message {
	b.t.Helper()
	data, err := b.out.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("the browser ended: %v", err)
	}
	var m message
	if err := json.Unmarshal(data[:len(data)-1], &m); err != nil {
		b.t.Fatal(err)
	}
	switch m.Method {
	case "Network.requestWillBeSent":
		b.urls = append(b.urls, m.Params.Request.URL)
	case "Page.loadEventFired":
		b.loads++
	}
	return m
}

// show opens a file in a window of some size. The medium is "screen" or "print", the
// scheme "light" or "dark".
func (b *browser) show(path string, width, height int, medium, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
	}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{
		"media": medium, "features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
	loads := b.loads
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	for b.loads == loads {
		b.read()
	}
}

// eval runs a script in the page, or in one of its frames if world is not 0. It waits for
// the script's promise and reads its value into result.
func (b *browser) eval(script string, world int, result any) {
	b.t.Helper()
	params := map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}
	if world != 0 {
		params["contextId"] = world
	}
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", params, &got)
	if got.ExceptionDetails != nil {
		b.t.Fatalf("script: %s", got.ExceptionDetails)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(got.Result.Value, result); err != nil {
		b.t.Fatalf("script returned %s: %v", got.Result.Value, err)
	}
}

// frames returns a world for scripts of ours in each frame of the page.
func (b *browser) frames() []int {
	b.t.Helper()
	var tree struct {
		FrameTree struct {
			ChildFrames []struct{ Frame struct{ ID string } }
		}
	}
	b.call("Page.getFrameTree", nil, &tree)
	var worlds []int
	for _, child := range tree.FrameTree.ChildFrames {
		var world struct{ ExecutionContextID int }
		b.call("Page.createIsolatedWorld", map[string]any{"frameId": child.Frame.ID}, &world)
		worlds = append(worlds, world.ExecutionContextID)
	}
	return worlds
}

// screenshot returns a picture of the whole page, and writes it to a file.
func (b *browser) screenshot(file string) image.Image {
	b.t.Helper()
	var metrics struct {
		CSSContentSize struct{ Width, Height float64 }
	}
	b.call("Page.getLayoutMetrics", nil, &metrics)
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true, "clip": map[string]any{
			"x": 0, "y": 0, "width": metrics.CSSContentSize.Width, "height": metrics.CSSContentSize.Height, "scale": 1,
		},
	}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		b.t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		b.t.Fatal(err)
	}
	return picture
}

// strangers returns the foreign addresses that the page asked for.
func (b *browser) strangers() []string {
	var all []string
	for _, url := range b.urls {
		if scheme, _, _ := strings.Cut(url, ":"); scheme != "file" && scheme != "data" && scheme != "about" {
			all = append(all, url)
		}
	}
	return all
}
