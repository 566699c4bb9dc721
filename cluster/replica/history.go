package replica

import "context"

// A state machine keeps history from the first entry on that only members with history
// understand. A leader writes one as soon as all members do. Before the first write to an
// empty store it waits for their answers, so that the revisions of a store without writes of
// older versions begin as those of etcd do: the empty store is at 1.

// beginEmpty begins the history of an empty store, before the first write of a term. clock is
// the entry's.
func (r *Replica) beginEmpty(clock int64) error {
	request := r.machine.HistoryRequest()
	if r.machine.Revision() > 0 || r.supports(request.Version) != nil {
		return nil
	}
	_, err := r.commit(r.machine.AppendEntry(nil, clock, request.Version, request.Count, request.Data))
	return err
}

// beginHistory begins the history of a store that has none, once all members understand
// that. Otherwise it does nothing.
func (r *Replica) beginHistory(ctx context.Context) {
	request := r.machine.HistoryRequest()
	if !r.Leading() || r.machine.History() || r.supports(request.Version) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	if _, err := r.proposer.Propose(ctx, request, true); err != nil {
		r.log.Debug("history not begun", "err", err)
	}
}
