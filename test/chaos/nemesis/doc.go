// Package nemesis makes faults in a cluster, in a Lab (package lab), while clients use it.
//
// A Fault is one way to break a cluster, and the way to heal it. A plan is drawn from a
// seed. It is a sequence of steps, each with the faults that begin at the same time. A
// Schedule carries a plan out: it starts the faults of a step, heals them, and waits until
// every node accepts a write again. Meanwhile a Watch asks the nodes for their status, and
// finds terms that decrease and terms with two leaders.
//
// A fault that could not be made is recorded as not done, with its reason; it never
// counts as survived.
package nemesis
