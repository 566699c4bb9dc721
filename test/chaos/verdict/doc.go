// Package verdict looks, when the clients of a run have ended and all faults are healed,
// for what must never be: nodes that hold different things, writes that are lost, that
// happened although they were reported as not done, or twice, keys whose operations have
// no order, sessions that went back, and faults after which nothing was served.
//
// Each check says of how much it was. One that had nothing to look at is a violation,
// and so is a key whose history could not be decided: both are the run's own fault, and
// say so.
package verdict
