# Needs Go and make; lint, tests and the service need nothing else. `make conformance` also needs python3 and curl,
# `make browser` node and npm.

VERSION := $(shell git describe --tags --dirty 2>/dev/null)
LDFLAGS := -X main.version=$(VERSION)

# The race detector needs cgo and a C compiler.
CC_FOUND := $(shell CGO_ENABLED=1 sh -c 'command -v $$(go env CC)' 2>/dev/null)
ifeq ($(CC_FOUND),)
RACE :=
else
RACE := CGO_ENABLED=1
endif
GO_TEST = $(RACE) go test $(if $(RACE),-race) -timeout 25m

.DEFAULT_GOAL := help
.PHONY: help build run demo mutants torture torture-billing test race note-race lint format generate bench bench-short bench-compare pgo fuzz conformance browser ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/eos-proxy, one static file
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/eos-proxy ./cmd/eos-proxy

run: build ## the service; settings from EOS_… variables (bin/eos-proxy serve --help)
	@exec bin/eos-proxy serve

demo: ## 69,659 purchases through kills and lost answers, to the cent
	go run ./examples/billing

torture: ## a history of all operations, judged, while all that there is breaks; SEED=7 DURATION=30m PROFILE=soak
	go run ./cmd/eos-torture run $(if $(SEED),-seed $(SEED)) $(if $(DURATION),-duration $(DURATION)) $(if $(PROFILE),-profile $(PROFILE)) $(TORTURE)

torture-billing: ## 100,000 ad views through dying workers, proxies and databases, each billed once; SEED=1
	go run ./examples/internal/chaos/run -seed $(or $(SEED),1) $(TORTURE)

mutants: ## versions of the service that are broken on purpose, each tortured until it is caught; writes docs/mutants.md; MUTANTS='NAME ...'
	go run ./internal/torture/mutants/run $(MUTANTS)

test: note-race ## every test, on a PostgreSQL that it starts itself
	go run ./internal/pgtest/with -- env $(GO_TEST) ./...

race: note-race ## the tests of store and handlers, three times over
	go run ./internal/pgtest/with -- env $(GO_TEST) -count=3 ./internal/store/... ./internal/handlers/...

note-race:
	@$(if $(RACE),:,echo 'no C compiler: the tests run without the race detector')

lint: ## go vet, golangci-lint, and the formatting
	go vet ./...
	go tool golangci-lint run --allow-parallel-runners
	go tool golangci-lint fmt --diff

format: ## format every file as lint wants it
	go tool golangci-lint fmt

generate: ## the Go code of api/openapi.yaml
	go generate ./...

bench: build ## what this machine reaches, beside the targets; BENCH='--only fetch': see bin/eos-proxy bench --help
	bin/eos-proxy bench --json bin/bench.json --gobench bin/bench.txt $(BENCH)

bench-short: build ## the same in two minutes, for a first look
	bin/eos-proxy bench --rounds 1 --seconds 0.8 --hold 2s $(BENCH)

bench-compare: ## two files that bench --gobench wrote: make bench-compare OLD=old.txt NEW=new.txt
	$(if $(and $(OLD),$(NEW)),,$(error OLD and NEW name the files))
	go tool benchstat $(OLD) $(NEW)

pgo: build ## the profile by which the next build optimises
	bin/eos-proxy bench --only produce-64 --rounds 1 --seconds 20 --profile cmd/eos-proxy/default.pgo

FUZZTIME ?= 10m
fuzz: ## every fuzz target, for FUZZTIME=10m each
	.ci/fuzz $(FUZZTIME)

conformance: ## the service against its own OpenAPI document, by schemathesis
	.ci/conformance

browser: ## event streams, followed by a real browser (node; Chromium is installed where it may be)
	.ci/browser

ci: ## everything that must hold before a merge
	.ci/run
