package wal_test

import (
	"fmt"
	"log"

	"github.com/kvorum/kvorum/wal"
	"github.com/kvorum/kvorum/wal/crashfs"
)

func Example() {
	disk := crashfs.New() // a program omits Options.FS
	if err := disk.MkdirAll("/var"); err != nil {
		log.Fatal(err)
	}
	if err := disk.SyncDir("/"); err != nil {
		log.Fatal(err)
	}
	w, err := wal.Open("/var/log", wal.Options{FS: disk})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	err = w.Append(1, []wal.Frame{
		{Type: wal.RecordTypePut, Payload: []byte("a=1")},
		{Type: wal.RecordTypePut, Payload: []byte("b=2")},
	})
	if err != nil {
		log.Fatal(err)
	}

	// The power fails here.
	after, err := wal.Open("/var/log", wal.Options{FS: disk.Crash(crashfs.CrashOptions{})})
	if err != nil {
		log.Fatal(err)
	}
	defer after.Close()
	for i := after.FirstIndex(); i <= after.LastIndex(); i++ {
		frame, err := after.Get(i)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d: %s\n", i, frame.Payload)
	}
	// Output:
	// 1: a=1
	// 2: b=2
}
