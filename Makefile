# Nothing here is needed to use Moldau: the go command builds and tests it.

help:  ## this list
	@sed -n 's/^\([a-z]*\): *## */\1	/p' Makefile

test:  ## all tests, as the README says
	go test ./...

race:  ## the concurrent packages under the race detector
	.ci/run race

lint:  ## vet, staticcheck, gofmt
	.ci/run vet staticcheck format

fluent:  ## the operators as methods, with Go 1.27
	.ci/run fluent

bench:  ## every Go benchmark; the whole program is measured by: go run ./benchmarks
	go test -run '^$$' -bench . -benchmem ./...

fuzz:  ## each fuzz target for a minute
	FUZZTIME=1m FUZZ=./... .ci/run fuzz

kill:  ## the word count killed 500 times over each directory, for some minutes
	MOLDAU_KILLS=500 go test -count=1 -timeout 1h -v -run '^TestKill$$' ./examples/wordcount

mutants:  ## faults put into our code, which the vectors must see; writes docs/mutations.md
	MOLDAU_MUTANTS=write go test -count=1 -timeout 1h -v ./stream/conformance/mutants

conformance:  ## Kafka Streams' vectors: step by step, end to end, and one of each scenario on a Kafka broker
	MOLDAU_PEERS=require go test -count=1 -timeout 30m -v ./stream/conformance

vectors:  ## more vectors: make vectors OUT=/absolute/directory SEEDS=101-150 [ONLY=REGEX]
	stream/conformance/generator/run $(OUT) $(SEEDS) $(if $(ONLY),only='$(ONLY)')

crash:  ## power loss at every change of the files, over many runs, and faults of disks: about an hour
	MOLDAU_CRASH=full go test -count=1 -timeout 3h -v -run 'Crash|Fault|Damage|AnyReadMayFail' ./log ./state ./stream/crash

peers:  ## beside Kafka Streams on a real Kafka broker, which needs a JDK and Maven
	go run ./benchmarks -peer kstreams

ci:  ## all that must hold before a change is in
	.ci/run

.PHONY: help test race lint fluent bench fuzz kill mutants conformance vectors crash peers ci
