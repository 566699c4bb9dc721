package report_test

import (
	_ "embed" // for the probe
	"fmt"
	"image"
	"path/filepath"
	"testing"

	"github.com/kvorum/kvorum/test/chaos/record"
	"github.com/kvorum/kvorum/test/chaos/report"
)

// probe is a script that returns the errors of the page in which it runs.
//
//go:embed testdata/probe.js
var probe string

// pages writes a page of each kind and returns their paths by name.
func pages(t testing.TB) map[string]string {
	t.Helper()
	dir, paths := t.TempDir(), map[string]string{}
	runs := map[string]*record.Run{"passed": sample(), "broken": broken(t), "long": long(4), "empty": {}, "hostile": hostile()}
	for name, run := range runs {
		path, err := report.Write(filepath.Join(dir, name), run)
		if err != nil {
			t.Fatal(err)
		}
		paths[name] = path
	}
	path, err := report.WriteSummary(filepath.Join(dir, "summary"), []*record.Run{sample(), broken(t), long(1)})
	if err != nil {
		t.Fatal(err)
	}
	paths["summary"] = path
	return paths
}

// TestPage_Chromium opens each kind of page on a phone and on a desk, in light and dark,
// and on paper. It fails if an element is wider than the window, hard to read, empty or
// overlapped, or if the page loads anything from elsewhere. With -artifacts, pictures of
// the pages are kept.
func TestPage_Chromium(t *testing.T) {
	b := openBrowser(t)
	shots := t.ArtifactDir()
	for name, path := range pages(t) {
		for _, size := range []struct{ width, height int }{{390, 844}, {1280, 900}} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(fmt.Sprintf("%s_%d_%s", name, size.width, scheme), func(t *testing.T) {
					b.show(path, size.width, size.height, "screen", scheme)
					picture := b.screenshot(filepath.Join(shots, fmt.Sprintf("%s-%d-%s.png", name, size.width, scheme)))
					lookAt(t, picture, size.width, size.height, scheme == "dark")
					examine(t, b)
				})
			}
		}
		t.Run(name+"_print", func(t *testing.T) {
			b.show(path, 703, 1000, "print", "dark") // A4 without its margins
			lookAt(t, b.screenshot(filepath.Join(shots, name+"-print.png")), 703, 1000, false)
			examine(t, b)
		})
	}
	if urls := b.strangers(); len(urls) > 0 {
		t.Errorf("the pages asked for %v", urls)
	}
}

// examine runs the probe.
func examine(t *testing.T, b *browser) {
	t.Helper()
	var wrong []string
	b.eval(probe, 0, &wrong)
	for i, what := range wrong {
		if i == 20 {
			t.Errorf("and %d more", len(wrong)-i)
			break
		}
		t.Error(what)
	}
}

// lookAt fails unless a picture is as wide as the window and at least as high, has the
// background of its scheme, and has many colours.
func lookAt(t *testing.T, picture image.Image, width, height int, dark bool) {
	t.Helper()
	if got := picture.Bounds(); got.Dx() != width || got.Dy() < height {
		t.Errorf("a picture of %v, want %d x %d or more", got, width, height)
	}
	r, g, b, _ := picture.At(1, 1).RGBA()
	if light := (r+g+b)/3 > 0x8000; light == dark {
		t.Errorf("the ground is %04x %04x %04x, dark: %v", r, g, b, dark)
	}
	colours := map[any]bool{}
	for y := 0; y < height; y += 3 {
		for x := 0; x < width; x += 3 {
			colours[picture.At(x, y)] = true
		}
	}
	if len(colours) < 10 {
		t.Errorf("the picture has %d colours", len(colours))
	}
}

// TestPage_Picture opens the fold of a key without an order, and finds porcupine's picture
// in it: a box for each operation, wide enough for its text, and the mark of the first
// operation without a place in the order.
func TestPage_Picture(t *testing.T) {
	b := openBrowser(t)
	path, err := report.Write(t.TempDir(), broken(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{390, 1280} {
		b.show(path, width, 844, "screen", "dark")
		b.eval(unfold, 0, nil)
		worlds := b.frames()
		if len(worlds) != 1 {
			t.Fatalf("%d frames, want 1", len(worlds))
		}
		var got struct{ Boxes, Narrow, Marks int }
		b.eval(look, worlds[0], &got)
		if got.Boxes != 4 || got.Narrow != 0 || got.Marks == 0 {
			t.Errorf("at %d px: %+v, want 4 boxes, all of them wide enough, and a mark", width, got)
		}
		b.screenshot(filepath.Join(t.ArtifactDir(), fmt.Sprintf("picture-%d.png", width)))
	}
}

// unfold opens the fold of the picture and waits until the picture is loaded.
const unfold = `new Promise((done) => {
	const fold = document.querySelector('.picture')
	fold.querySelector('iframe').addEventListener('load', () => done(0), {once: true})
	fold.open = true
	fold.scrollIntoView()
})`

// look is a script that counts the elements of the picture.
const look = `(() => {
	const width = (e) => e.getBoundingClientRect().width
	const boxes = [...document.querySelectorAll('.history-rect')].filter((e) => width(e) > 0)
	const texts = [...document.querySelectorAll('#canvas .history-text')]
	return {
		boxes: boxes.length,
		narrow: texts.filter((e, i) => width(e) === 0 || width(e) > width(boxes[i])).length,
		marks: [...document.querySelectorAll('.linearization-invalid')].length,
	}
})()`
