package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/kvorum/kvorum/test/history"
)

// Item is a key of a list.
type Item = history.Item

// ErrListBroken is returned for an incomplete list: it has no last line, or a last line
// with another number of items.
var ErrListBroken = errors.New("the list is not whole")

// ReadList calls each for the items of a list of text keys and values, as the JSON
// lines of the API. An error of each ends it.
func ReadList(r io.Reader, each func(Item) error) error {
	lines := json.NewDecoder(r)
	for n := 0; ; n++ {
		var line struct {
			Item
			End   bool `json:"end"`
			Count int  `json:"count"`
		}
		if err := lines.Decode(&line); err != nil {
			return fmt.Errorf("%w: after %d items: %w", ErrListBroken, n, err)
		}
		if line.End {
			if line.Count != n {
				return fmt.Errorf("%w: it has %d items and counts %d", ErrListBroken, n, line.Count)
			}
			return nil
		}
		if err := each(line.Item); err != nil {
			return err
		}
	}
}
