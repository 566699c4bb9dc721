package lab

import (
	"errors"
	"log/slog"
)

// KindDocker is the kind of the Lab that OpenDocker makes.
const KindDocker = "docker"

// ErrNoEngine is returned by OpenDocker if no Docker engine answers, or there is no
// Compose.
var ErrNoEngine = errors.New("no Docker engine answers here")

// DockerConfig configures OpenDocker.
type DockerConfig struct {
	// Root is the directory with docker-compose.yml, Dockerfile and .dockerignore, which
	// are used unchanged.
	Root string
	// Program is the static binary of the image. Empty means Root's bin/kvorum, which "make
	// build" makes.
	Program string
	// Logger logs the Lab's own decisions; if it is nil, they are not logged.
	Logger *slog.Logger
}
