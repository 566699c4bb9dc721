package cluster

import (
	"github.com/kvorum/kvorum/cluster/propose"
	"github.com/kvorum/kvorum/fsm"
	"github.com/kvorum/kvorum/internal/wire"
	"github.com/kvorum/kvorum/kv"
)

// encode returns requests as they are carried.
func encode(requests ...kv.Request) (all wire.Requests) {
	for _, r := range requests {
		all = fsm.Encode(all, r)
	}
	return all
}

func put(key string) wire.Requests { return encode(kv.Put(key, nil)) }

func del(key string) wire.Requests { return encode(kv.Delete(key)) }

// entryOf returns a log entry with these requests.
func entryOf(requests wire.Requests) []byte {
	return fsm.AppendEntry(nil, 1, requests.Version, requests.Count, requests.Data)
}

// together returns the batch that has these requests.
func together(requests ...wire.Requests) (b propose.Batch) {
	for _, r := range requests {
		b.Facts.Note(r)
		b.Parts = append(b.Parts, r.Data)
	}
	return b
}
