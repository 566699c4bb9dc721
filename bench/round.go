package main

import (
	"context"
	"fmt"
	"runtime"
)

// contender is one of the things that are measured in turn. A turn makes one measurement
// for each of the table's columns.
type contender struct {
	name string
	turn func() ([]float64, error)
}

// figures are the results of a contender's turns for one column, by round.
type figures struct {
	name   string
	values []float64
}

// inTurn gives each contender its turn, A B C A B C, and returns their figures by column.
// It collects garbage before each turn, so that no turn pays for the memory of previous
// ones.
func inTurn(ctx context.Context, rounds, columns int, contenders []contender) ([][]figures, error) {
	all := make([][]figures, columns)
	for i := range all {
		for _, c := range contenders {
			all[i] = append(all[i], figures{name: c.name})
		}
	}
	for range rounds {
		for i, c := range contenders {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			runtime.GC()
			values, err := c.turn()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			for column, v := range values {
				all[column][i].values = append(all[column][i].values, v)
			}
		}
	}
	return all, nil
}
