package fsm

// Op says what a Command does. The values are part of the log's format.
type Op byte

// Operations of command format version 1.
const (
	OpPut    Op = 1 // set Key to Value
	OpDelete Op = 2 // remove Key
	OpClock  Op = 3 // nothing but carry the batch's clock; the first act of every term
	OpRetire Op = 4 // Key is a raft ServerID that never may be a member again

	OpCheckpoint Op = 5 // note the state hash after this entry; see Checkpoint
)

// ConditionKind says what must hold of a key before a command changes it.
type ConditionKind byte

// Kinds of condition. The values are part of the log's format.
const (
	CondNone     ConditionKind = 0 // always holds
	CondAbsent   ConditionKind = 1 // the key does not exist (If-None-Match: *)
	CondPresent  ConditionKind = 2 // the key exists (If-Match: *)
	CondRevision ConditionKind = 3 // the key exists and its modify revision is Revision (If-Match: "N")
)

// Condition guards a put or a delete; the zero value always holds. The other
// operations have none, and disregard it.
type Condition struct {
	Kind     ConditionKind
	Revision uint64 // only for CondRevision
}

// Command is one replicated operation.
type Command struct {
	Op    Op
	Key   string
	Value []byte
	Cond  Condition
}

// Batch is what one raft log entry holds: commands that are applied in order,
// each with a result of its own.
type Batch struct {
	// Clock is the leader's stamp: nanoseconds since the Unix epoch of the cluster clock.
	Clock    int64
	Commands []Command
}

// Status says how a command ended.
type Status byte

// Statuses. The values are part of the peer protocol.
const (
	StatusOK              Status = 1 // done
	StatusNotFound        Status = 2 // a delete whose condition held found no such key; nothing changed
	StatusConditionFailed Status = 3 // the condition did not hold; nothing changed
)

// Result is the outcome of one command of a batch.
type Result struct {
	Status Status
	// Created says that a put made the key rather than replaced its value.
	Created bool
	// Revision is the revision that a successful put or delete took; for every
	// other outcome the store's revision when the command was applied.
	Revision uint64
	// Current is the key's modify revision after the command, 0 if it is absent.
	Current uint64
}
