package httpapi

import (
	"maps"
	"net/http"
	"slices"
)

// Handler returns the API without a listener and its limits on connections and headers.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Routes returns the methods of each route.
func (s *Server) Routes() map[string][]string {
	routes := make(map[string][]string)
	for _, route := range s.table() {
		routes[route.template] = slices.Sorted(maps.Keys(route.methods))
	}
	return routes
}

// The parameters of lists, of watches, of reads of a key, of deletes of a range, and of lists of
// leases.
var (
	ListNames  = listNames
	GetNames   = keyParams
	WatchNames = watchNames
	RangeNames = append([]string{"all"}, rangeNames...)

	LeaseListNames = leaseListNames
)

// OperationMembers returns the members of each kind of operation in a transaction, without
// the forms in base64, and those of compares under the name "".
func OperationMembers() map[string][]string {
	members := map[string][]string{"": compareMembers}
	for _, o := range opInfos {
		members[o.name] = o.known
	}
	return members
}
