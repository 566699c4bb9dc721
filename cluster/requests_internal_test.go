package cluster

import (
	"bytes"

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

// single returns the batch that has these requests alone.
func single(requests wire.Requests) batch {
	return batchOf([]*proposal{{requests: requests}})
}

// mentions says whether a batch has a key, or a part of one.
func (b batch) mentions(key string) bool { return bytes.Contains(b.data(), []byte(key)) }

// data returns the batch's requests. A fake answers with them, for each response is then
// the request that it answers.
func (b batch) data() []byte { return bytes.Join(b.parts, nil) }
