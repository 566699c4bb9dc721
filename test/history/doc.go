// Package history records what the clients of a cluster saw, and looks for what must
// never be: a key whose operations have no order that explains them, a write that
// was acknowledged and is lost, one that was reported as not done and is there, one
// that happened twice.
//
// A [History] is filled by clients, each of which takes a [Call] before an operation
// and adds it when it has returned. Every value that is ever written must be unique,
// and not empty. An operation whose outcome is unknown may have happened at any time
// since its call, may happen at any later one, or never does.
//
// [History.Check] looks at each key by itself, with porcupine. How long that takes
// grows with the number of outcomes that are open at once, so a key should be used by
// few clients for a few seconds, and then never again: what is open of one key costs
// nothing at the next.
package history
