package nemesis

// docker is the kind of a Lab whose hosts are containers.
const docker = "docker"

// The following say why a place is known not to have a fault, and what it would take.

func noPower(p Place) string {
	return inDocker(p, "a volume of the engine does not forget what was not synced; namespaces have it")
}

func noDisks(p Place) string {
	return inDocker(p, "the containers share the engine's disk; namespaces have one for each host")
}

func noTrace(p Place) string {
	return inDocker(p, "the image is empty but for the program, and has no strace; namespaces have it")
}

func noClock(p Place) string {
	return inDocker(p, "the containers share the machine's clock; namespaces have it")
}

func inDocker(p Place, reason string) string {
	if p.Kind == docker {
		return reason
	}
	return ""
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
