# Bare "make" prints the targets.
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME    ?= 10s
BENCH       ?= all
SECONDS     ?= 60
COMPOSE     := $(shell command -v docker-compose 2>/dev/null || echo docker compose)

.DEFAULT_GOAL := help
.PHONY: help build test race lint fuzz sim chaos chaos-docker chaos-controls chaos-versus soak trials bench demo cluster-up cluster-down clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the static binary ./bin/kvorum
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/kvorum ./cmd/kvorum

test: ## run all tests
	$(GO) test -timeout 20m ./...

# The detector sees only its own process: tests of whole programs, containers and pages in a
# browser run without it. So do tests that give one goroutine a million keys or thousands of
# damaged files: others run the same code under the detector. What vet finds, lint finds.
UNRACED := ^(TestDocker|TestTx_KeyLimit|TestReplace_PowerLossTwice$$|TestBolt_DamageNeverTakesAVoteBack$$)
race: ## run the tests of one process under the race detector
	$(GO) test -race -vet=off -timeout 20m -skip '$(UNRACED)' $$($(GO) list ./... | grep -v -e '/test$$' -e '/test/chaos/report$$')
	$(GO) test -race -vet=off -timeout 20m -run '^TestNode_' ./test

# staticcheck is one of the linters of .golangci.yml.
lint: ## gofmt, go vet and golangci-lint, which the first run builds for some minutes
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run ./...

# The targets are found in the source: a list by the go command builds the tests of all packages.
fuzz: ## run every fuzz target for FUZZTIME each
	@set -e; for dir in $$(grep -rl --include='*_test.go' --exclude-dir=bench '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c6-); do \
			echo "$$dir $$target"; $(GO) test -vet=off -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; \
	done

sim: ## break simulated clusters for SECONDS, and say what was found
	$(GO) test ./test/sim -count=1 -v -run '^TestSimulation$$' -timeout $$(($(SECONDS) + 300))s -sim.seconds $(SECONDS)

bin/chaos: FORCE
	$(GO) build -o $@ ./test/chaos
FORCE:

chaos: bin/chaos ## break processes for SECONDS, with a page to look at; SEED and NODES
	bin/chaos run --seconds $(SECONDS) --nodes $(or $(NODES),3) $(if $(SEED),--seed $(SEED))

chaos-docker: bin/chaos ## the same of docker-compose.yml's containers, where an engine answers
	@if docker version >/dev/null 2>&1; then set -x; bin/chaos docker --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)); \
	else echo "chaos-docker: skipped: no docker engine answers"; fi

chaos-controls: bin/chaos ## break clusters in ways that chaos must find
	bin/chaos controls $(if $(SEED),--seed $(SEED))

chaos-versus: bin/chaos ## the same faults for Kvorum and for etcd, in turns: some 8 minutes
	bin/chaos versus

soak: bin/chaos ## use a cluster for HOURS, and look for leaks
	bin/chaos soak --hours $(or $(HOURS),1) --nodes $(or $(NODES),3) $(if $(SEED),--seed $(SEED))

trials: ## run the trials of docs/reliability.md and print their table; those under load for TRIAL_SECONDS
	$(if $(TRIAL_SECONDS),KVORUM_TRIAL_SECONDS=$(TRIAL_SECONDS)) $(GO) run ./test/trials

bench: ## measure beside other stores: BENCH is all, embedded, state, history, transactions, served, failover, watch, or versus, calls or state-versus with OLD, and maybe NEW, a revision (of versus also a path)
	cd bench && $(GO) run . $(BENCH) $(foreach v,$(OLD) $(NEW),$(if $(wildcard $(v)),$(abspath $(v)),$(v)))

demo: build ## run a local cluster of three nodes
	./bin/kvorum demo

cluster-up: build ## start three nodes in containers
	$(COMPOSE) up --build --detach

cluster-down: ## stop the containers and remove their data
	$(COMPOSE) down --volumes

clean: ## remove what was built
	rm -rf bin
