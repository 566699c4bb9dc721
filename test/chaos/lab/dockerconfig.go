package lab

import (
	"errors"
	"log/slog"
)

// KindDocker is the kind of the Lab that OpenDocker makes.
const KindDocker = "docker"

// ErrNoEngine is returned by OpenDocker where no Docker engine answers, or has no
// Compose.
var ErrNoEngine = errors.New("no Docker engine answers here")

// DockerConfig says what OpenDocker runs.
type DockerConfig struct {
	// Root is the directory with docker-compose.yml, Dockerfile and .dockerignore, which
	// are used as they are.
	Root string
	// Program is the static binary of the image. Empty is Root's bin/kvorum, which
	// "make build" makes.
	Program string
	// Logger gets what the Lab decides by itself. nil discards.
	Logger *slog.Logger
}
