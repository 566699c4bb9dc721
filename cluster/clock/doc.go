// Package clock has the rule by which the cluster clock advances: the clock with which a leader
// stamps its entries, and by which keys expire. It does no I/O, and takes all times as
// arguments or from a function that it is given.
//
// # The rule
//
// No member's wall clock counts while the cluster runs, and no member's monotonic clock counts
// alone. The leader asks the voters for their monotonic clocks, about thirteen times a second, or
// eight times while no key has a deadline, and tells them the cluster clock.
//
//  1. A voter counts the cluster clock on by its own monotonic clock, from what a leader has
//     told it last (Count). A new leader begins with the median of these counts. A voter that
//     has been told nothing since its process started gives its wall clock instead, so that
//     wall clocks decide only after a restart of all voters.
//  2. In its term, the leader keeps a count of the cluster clock for each voter, itself
//     included: the time that has passed by the voter's monotonic clock since the voter was
//     first asked. At each round, the cluster clock moves to the median of the counts of those
//     that have answered, which must be more than half of the voters. Between rounds it
//     advances by the leader's monotonic clock.
//  3. Of an even number, the median is the lower one in the middle: if two clocks differ, and
//     no third one answers, then keys live longer rather than end early.
//  4. An answer was given at some time between question and arrival. A count is moved only as
//     far as this proves. So delays of the network move nothing, unless a clock is wrong too.
//  5. A count that differs from the cluster clock by more than 50 ms (spread) is set to that
//     distance. So it matters little which voters are the ones that answer.
//  6. A stamp is never less than an earlier one. A clock that is ahead stands still.
//
// # Why a minority of wrong clocks does little
//
// More than half of the answers are of right clocks. So at most half of the counts are below
// the least right one, if the number is odd fewer, and the lower median is at most the greatest
// right one. It is thus between two right ones after each round of an odd number of answers;
// of an even number with half of them wrong it may also be late, never early. A right count is off
// by the uncertainty of two answers at most, which is two round trips, and this does not add up
// over rounds, because a count goes back to the first answer. Between rounds, a clock of the leader
// that is wrong by a tenth adds 8 ms to each 75 ms, and one that stands still 75 ms, or 125 ms to
// the first key with a deadline; if a voter is silent, a round takes 50 ms longer. The voters that answer may change. That adds
// up to 50 ms at a change, and what one round adds, if a clock is wrong or right ones have drifted apart.
//
// A deadline is a stamp and a time to live, and both ends have these bounds. With three voters,
// a network without delay and one wrong clock, the leader's or another one, the two together stay
// below 200 ms.
//
// What this can't do: if half of the voters that answer have wrong clocks, nobody can tell
// who is right. If two of three answer, and one of them is slow, the cluster clock is as slow. If all
// voters restart, the median of the wall clocks decides how long they were down.
package clock
