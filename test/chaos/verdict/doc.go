// Package verdict checks a run after its clients have ended and all faults are healed. It
// finds nodes with different data, writes that are lost, writes that happened twice or
// although they were reported as not done, keys whose operations have no order that
// explains them, sessions that went back, and faults after which the cluster did not serve.
// It also compares what watches delivered: with each other, with what each node still has,
// with acknowledged writes, with reads at a revision, and with the final state.
//
// Each check reports how much it has checked. A check that had nothing to check is a
// violation, and so is a key whose history could not be decided. Both are failures of the
// run itself, and their texts say so.
package verdict
