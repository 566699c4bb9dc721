# Bare "make" prints the targets.
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
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

# The containers of these tests run a binary without the detector.
race: ## run all tests but those of containers under the race detector
	$(GO) test -race -timeout 20m -skip '^Test(Docker|Compose)' ./...

lint: ## gofmt, go vet, staticcheck and golangci-lint, which the first run builds for some minutes
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(GOLANGCI) run ./...

fuzz: ## run every fuzz target for FUZZTIME each
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
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

bench: ## measure beside other stores: BENCH is all, embedded, state, served, failover, or versus or calls with OLD, and maybe NEW, a revision (of versus also a path)
	cd bench && $(GO) run . $(BENCH) $(foreach v,$(OLD) $(NEW),$(if $(wildcard $(v)),$(abspath $(v)),$(v)))

demo: build ## run a local cluster of three nodes
	./bin/kvorum demo

cluster-up: build ## start three nodes in containers
	$(COMPOSE) up --build --detach

cluster-down: ## stop the containers and remove their data
	$(COMPOSE) down --volumes

clean: ## remove what was built
	rm -rf bin
