// Package report makes pages that people look at out of the records of runs.
//
// Write makes one page of one run, report.html. The page needs no network and no file
// beside it: style, charts and pictures are part of it, and reading it takes no
// JavaScript. The picture of a key is a whole document of porcupine's with scripts of
// its own; it is shown in a frame without rights once a reader opens it. Beside the page
// are run.json, the record for programs, and the evidence that violations name.
//
// WriteSummary adds several runs up, as summary.html for readers and as summary.md for
// docs.
//
// The charts keep what is rare. A run of hours has at most 600 columns, each of which
// stands for several seconds and shows their lowest and highest figures beside the mean.
// A page of four hours has less than 1 MiB, apart from pictures and evidence.
//
// A page has one drawing for phones, desks and paper. The shapes of a chart are
// stretched to the room that there is, and labels are text of HTML beside them, which
// keeps its size.
//
// The functions of this package may be called concurrently for different directories.
// They only read the runs they are given.
package report
