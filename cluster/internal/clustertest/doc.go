// Package clustertest has the fixtures of the tests of package cluster and of the packages
// below it: clusters of several nodes in one process.
//
// Open starts a cluster on real ports and files. OpenBubble starts one inside a synctest
// bubble, on a network of pipes and disks in memory, of which a test may stop any. A Node is a
// cluster.Node together with its configuration and the parts that a test may look into or
// break. All that a fixture opens is closed with its test.
package clustertest
