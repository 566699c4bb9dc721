package nemesis

import "github.com/kvorum/kvorum/test/chaos/lab"

// docker is the kind of a Lab whose hosts are containers.
const docker = "docker"

// The following functions return the reason why a place is known not to have a fault, and
// the requirement.

func noPower(p Place) string {
	if !p.OwnDisks {
		return "no host has a filesystem of its own whose unsynced part can be dropped; that takes root, and processes in place of containers"
	}
	return ""
}

func noDisks(p Place) string {
	if !p.OwnDisks {
		return "no host has a disk of its own; that takes root, and processes in place of containers"
	}
	return ""
}

func noClock(p Place) string {
	if p.Kind == docker {
		return "containers have the machine's own clock; processes have one that can be set"
	}
	return ""
}

func noStarving(p Place) string {
	if p.Kind == docker {
		return "the engine starts a container that the kernel has killed again at once, and with so little memory the node refuses to start; processes stay down"
	}
	return ""
}

func noPlug(p Place) string {
	if p.Kind != docker {
		return "processes keep their network, and are cut off in it; containers are disconnected"
	}
	return ""
}

func noShape(p Place) string {
	if p.Kind == docker {
		return "between containers nothing but loss is made; between processes it is"
	}
	return ""
}

func noReordering(p Place) string {
	if p.Kind == lab.KindProxy {
		return "a proxy passes streams on, which have one order; namespaces have packets"
	}
	return noShape(p)
}

func noOneWay(p Place) string {
	if !p.OneWay {
		return "partitions have two sides here; namespaces cut one direction"
	}
	return ""
}

func noRing(p Place) string {
	if p.Nodes == 3 && !p.OneWay {
		return "a ring of three cuts one direction of each pair, and partitions have two sides here"
	}
	return ""
}

func noSpare(p Place) string {
	if p.Spare < 2 {
		return "there are no two hosts beside those of the cluster"
	}
	return ""
}
