package clustertest

import (
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// Encode returns requests as they are carried.
func Encode(requests ...kv.Request) (all wire.Requests) {
	for _, r := range requests {
		all = fsm.Encode(all, r)
	}
	return all
}

// Entry returns a log entry with requests.
func Entry(requests wire.Requests) []byte {
	return fsm.AppendEntry(nil, 1, requests.Version, requests.Count, requests.Data)
}

// Two returns a request that needs command version 2.
func Two(a, b string) kv.Request {
	return kv.Request{Then: []kv.Op{{Kind: kv.OpPut, Key: a}, {Kind: kv.OpPut, Key: b}}}
}
