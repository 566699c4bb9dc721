// Package report makes pages for people from the records of runs.
//
// Write makes one page for one run, report.html. The page needs no network and no other
// file, because style, charts and pictures are part of it. It needs no JavaScript. The
// picture of a key is a whole document of the library porcupine, with scripts of its own.
// It is shown in a frame without rights when a reader opens it. In the same directory are
// run.json, the record for programs, and the evidence that violations name.
//
// WriteSummary adds several runs up, as summary.html for readers and as summary.md for
// docs.
//
// The charts keep rare events visible. A chart has at most 600 columns. In a run of hours
// each column has the figures of several seconds: the lowest, the mean and the highest. The
// page of a run of four hours has less than 1 MiB, without pictures and evidence.
//
// A page has the same drawings for phones, desktops and paper. The shapes of a chart are
// stretched to the width of the page. Its labels are HTML text beside the shapes, which
// keeps its size.
//
// All functions are safe for concurrent use with different directories. They do not change
// the runs.
package report
