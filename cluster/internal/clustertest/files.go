package clustertest

// Names below a data directory.
const (
	LogDir       = "wal"
	StableDir    = "stable"
	StableFile   = "raft.db" // below StableDir
	SnapshotsDir = "snapshots"
	StateFile    = "state" // below a snapshot's directory
	FloorFile    = "floor.json"
	BallastFile  = "ballast"
	BookFile     = "peers.json"
	NoteFile     = "diverged.json"
	// AsidePrefix begins the names of the files of an incarnation that is set aside. The
	// incarnation and a dash follow.
	AsidePrefix = "diverged-"
	// UnfinishedSuffix ends the name of the directory of a snapshot that is not finished.
	UnfinishedSuffix = ".tmp"
)
