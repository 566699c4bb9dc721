package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/kvorum/kvorum/httpapi"
	"github.com/kvorum/kvorum/kv"
)

// TestAnswers_HaveABudget shows that a transaction whose answer finds no room is refused before
// it is carried out, that other requests are not, and that answers give their room back.
func TestAnswers_HaveABudget(t *testing.T) { synctest.Test(t, testAnswersHaveABudget) }

// testAnswersHaveABudget runs in a bubble, where no time passes while a request is carried out:
// however slow the machine is, none waits too long for room that is given back.
func testAnswersHaveABudget(t *testing.T) {
	const (
		txn    = `{"then":[{"range":{"prefix":"k"}}]}`
		getset = "/kv/k?op=getset"
	)
	a := mustAPI(t, func(c *httpapi.Config) { c.MaxValueBytes, c.MaxInflightBytes = 64<<10, 256<<10 })
	a.node.put(kv.Item{Key: "k", Value: make([]byte, 1000)})
	var blocked atomic.Bool
	entered, leave := make(chan struct{}), make(chan struct{})
	a.node.hook = func(_ context.Context, op, _ string) error {
		if op == "range" && !blocked.Swap(true) {
			entered <- struct{}{}
			<-leave
		}
		return nil
	}
	first := make(chan int)
	go func() { first <- a.do(http.MethodPost, "/txn", txn).Code }()
	<-entered
	before := len(a.node.called())
	for target, answer := range map[string]int{"/txn": http.StatusTooManyRequests, getset: http.StatusTooManyRequests} {
		if got := a.do(http.MethodPost, target, txn); got.Code != answer || !strings.Contains(got.Body.String(), `"outcome":"not_done"`) {
			t.Errorf("%s: got %d %s", target, got.Code, got.Body)
		}
	}
	if got := a.do(http.MethodPost, "/batch", `{"get":{"key":"k"}}`+"\n"); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), `"overloaded"`) {
		t.Errorf("batch: got %d %s", got.Code, got.Body)
	}
	if n := len(a.node.called()); n != before {
		t.Errorf("%d refused requests were carried out", n-before)
	}
	if got := a.do(http.MethodPut, "/kv/other", "v"); got.Code != http.StatusCreated {
		t.Errorf("put: got %d", got.Code)
	}
	if got := a.do(http.MethodPost, "/txn", `{"then":[{"count":{"prefix":"k"}}]}`); got.Code != http.StatusOK {
		t.Errorf("count: got %d %s", got.Code, got.Body)
	}
	close(leave)
	if code := <-first; code != http.StatusOK {
		t.Errorf("the first one: got %d", code)
	}
	for range 100 {
		if got := a.do(http.MethodPost, getset, "v"); got.Code != http.StatusOK {
			t.Fatalf("getset: got %d %s", got.Code, got.Body)
		}
	}
	if got := a.do(http.MethodPost, "/batch", strings.Repeat(`{"get":{"key":"k"}}`+"\n", 100)); strings.Contains(got.Body.String(), "error") {
		t.Errorf("batch: got %s", got.Body)
	}
	a.expectReleased()
}

// TestAnswers_OfLeasesHaveTheBudget shows that the keys of a lease, and lists of leases, are refused
// before they are read if they find no room for the answer, and that they give their room back.
func TestAnswers_OfLeasesHaveTheBudget(t *testing.T) { synctest.Test(t, testAnswersOfLeases) }

func testAnswersOfLeases(t *testing.T) {
	a := mustAPI(t, func(c *httpapi.Config) { c.MaxValueBytes, c.MaxInflightBytes = 64<<10, 256<<10 })
	a.do(http.MethodPost, "/leases", `{"ttl":"30s"}`)
	var blocked atomic.Bool
	entered, leave := make(chan struct{}), make(chan struct{})
	a.node.hook = func(_ context.Context, op, _ string) error {
		if op == "time to live" && !blocked.Swap(true) {
			entered <- struct{}{}
			<-leave
		}
		return nil
	}
	const keys = "/leases/" + firstLease + "?keys=true"
	first := make(chan int)
	go func() { first <- a.do(http.MethodGet, keys, "").Code }()
	<-entered
	before := len(a.node.called())
	for _, target := range []string{keys, "/leases", "/leases?limit=1"} {
		if got := a.do(http.MethodGet, target, ""); got.Code != http.StatusTooManyRequests {
			t.Errorf("%s: got %d %s", target, got.Code, got.Body)
		}
	}
	if n := len(a.node.called()); n != before {
		t.Errorf("%d refused requests were carried out", n-before)
	}
	if got := a.do(http.MethodGet, "/leases/"+firstLease, ""); got.Code != http.StatusOK {
		t.Errorf("without keys: got %d %s", got.Code, got.Body)
	}
	close(leave)
	if code := <-first; code != http.StatusOK {
		t.Errorf("the first one: got %d", code)
	}
	for range 100 {
		for _, target := range []string{keys, "/leases"} {
			if got := a.do(http.MethodGet, target, ""); got.Code != http.StatusOK {
				t.Fatalf("%s: got %d %s", target, got.Code, got.Body)
			}
		}
	}
	a.expectReleased()
}
