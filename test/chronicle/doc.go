// Package chronicle records what clients of a store asked and were told, together with the
// changes that watches delivered, and checks all of it against a sequential model.
//
// The store says at which revision it has done a request. So the order of requests need not
// be searched for: the state at a revision is the sum of the changes up to it, and each
// answer is compared with that of a model which does the request on the state before it. A
// [Chronicle] is filled while the clients run, and finds some errors at once:
//
//   - an answer that is older than one which was known before its request;
//   - two watches that deliver different changes for one revision, a revision in two parts,
//     twice, or after a progress mark that says it was delivered;
//   - a read below a compaction that was acknowledged, and "compacted" for a revision that
//     is kept.
//
// [Chronicle.Check] finds the others, when the clients have ended:
//
//   - an answer that differs from the model's, also one that refuses a request;
//   - changes that no request explains, or two requests that claim one revision. A request
//     of unknown outcome may explain one revision, after its call, or none;
//   - a read at a revision, or a snapshot of a watch, that differs from the state after it;
//   - a watch that lacks changes between its beginning and its end, or has others.
//
// The state is known from the first snapshot of an auditor on, where auditors' watches follow
// each other without a gap; see [Chronicle.Auditor]. What lies in a gap is not checked, and
// counted.
//
// Values are recorded in short: long ones by their length and a hash.
package chronicle
