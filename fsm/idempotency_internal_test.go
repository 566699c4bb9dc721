package fsm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kvorum/kvorum/kv"
)

// TestAnswers_RefusalText shows that the state hash and the limits do not depend on the text of a
// refusal, which another build of the program may put in other words, and do depend on its code.
func TestAnswers_RefusalText(t *testing.T) {
	kept := func(refused error) (a answers) {
		a.add(7, fingerprint{1}, "key", appendRefusal(nil, refused))
		return a
	}
	one := kept(fmt.Errorf("%w: the value of %.64q", kv.ErrNotNumber, "k"))
	other := kept(fmt.Errorf("%w: in many other words", kv.ErrNotNumber))
	if one.hash != other.hash || one.bytes != other.bytes {
		t.Errorf("another text: got hashes %x and %x, %d and %d bytes", one.hash, other.hash, one.bytes, other.bytes)
	}
	if one.at(0).response() == other.at(0).response() {
		t.Error("the texts are not kept")
	}
	if overflow := kept(fmt.Errorf("%w: in many other words", kv.ErrOverflow)); overflow.hash == other.hash {
		t.Error("another code has the same hash")
	}
}

// TestAnswers_LongLength shows that a snapshot's answer is malformed if the length of its key
// takes more bytes than it must: an answer is divided by it later.
func TestAnswers_LongLength(t *testing.T) {
	head := string(make([]byte, answerHeadLen))
	for length, want := range map[string]error{"\x03": nil, "\x83\x00": ErrMalformed, "\x83\x80\x00": ErrMalformed} {
		var a answers
		if err := a.readAnswers([]byte(head + length + "key" + "\x02\x01\x01")); !errors.Is(err, want) {
			t.Errorf("length %x: got %v, want %v", length, err, want)
		}
	}
}
