package cluster

import (
	"context"
	"encoding/json"

	"github.com/kvorum/kvorum/cluster/replica"
	"github.com/kvorum/kvorum/kv"
)

// transferRequest asks the leader to hand leadership to the member of that
// name; to the most advanced voter if it is empty.
type transferRequest struct {
	ID string `json:"id"`
}

// Transfer hands leadership to the voter of that name, or to the one that is
// ready first if name is empty. Any node may be asked. It returns
// ErrUnknownNode, ErrNoSuccessor, or an error of not reaching the leader. A transfer to the
// present leader changes nothing.
func (n *Node) Transfer(ctx context.Context, name string) error {
	_, err := n.onLeader(ctx, kindTransfer, transferRequest{ID: name})
	return err
}

// TransferLeadership hands leadership to another voter if this node leads. It
// returns nil if it does not lead.
func (n *Node) TransferLeadership(ctx context.Context) error {
	r, err := n.joined()
	if err != nil || !r.Elected() {
		return nil
	}
	return n.exclusively(ctx, func() error { return r.Transfer(ctx, "") })
}

// handleTransfer carries out a transfer on the leader.
func (n *Node) handleTransfer(ctx context.Context, r *replica.Replica, payload []byte) error {
	var request transferRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return &kv.ValidationError{Field: "id", Reason: "transfer request is malformed"}
	}
	return n.exclusively(ctx, func() error { return r.Transfer(ctx, request.ID) })
}
