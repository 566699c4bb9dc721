// Package nemesis breaks a cluster on purpose, in a Lab, while clients use it.
//
// A Fault is one way to break it, with a heal. A plan, which is drawn from a seed,
// says in which order faults begin, and which of them at once. A Schedule carries it
// out: it starts the faults of a step, heals them, and waits until every node takes a
// write again. A Watch asks the nodes meanwhile who leads, and what they take of the
// machine.
//
// A fault that could not be made is recorded as not done, with its reason; it never
// counts as survived.
package nemesis
