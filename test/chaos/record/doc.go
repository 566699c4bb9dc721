// Package record holds all that is known of one run against a cluster, as it is written
// to a file, shown as a page and added up with other runs.
package record
