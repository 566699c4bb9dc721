package main

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestInTurn(t *testing.T) {
	var turns []string
	one := func(name string, values ...float64) contender {
		return contender{name, func() ([]float64, error) {
			turns = append(turns, name)
			return values, nil
		}}
	}
	columns, err := inTurn(context.Background(), 2, 2, []contender{one("a", 1, 2), one("b", 3, 4)})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "a", "b"}; !slices.Equal(turns, want) {
		t.Errorf("got turns %v, want %v", turns, want)
	}
	if got := columns[1][0]; got.name != "a" || !slices.Equal(got.values, []float64{2, 2}) {
		t.Errorf("got %v, want a's second figures", got)
	}
}

func TestInTurn_Error(t *testing.T) {
	wrong := errors.New("wrong")
	_, err := inTurn(context.Background(), 2, 1, []contender{{"a", func() ([]float64, error) { return nil, wrong }}})
	if !errors.Is(err, wrong) {
		t.Errorf("got %v, want %v", err, wrong)
	}
}
