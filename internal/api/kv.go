package api

// DeleteRangeResponse is the body of the answer to DELETE /kv/.
type DeleteRangeResponse struct {
	Deleted  int    `json:"deleted"`  // number of keys that were removed
	Revision uint64 `json:"revision"` // of the store after the request
}
