// Package record has the record of one run against a cluster: all that is written to a
// file, shown on a page and added up with other runs.
package record
