SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-memory test test-all train bench faults soak reference lint clean

# nothing leaves this machine; rendering needs no screen
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export MUJOCO_GL ?= egl
DEMO_SEED ?= 0
EPISODES ?= 50
REPETITIONS ?= 20
MINUTES ?= 60
foresight := .venv/bin/foresight
work := runs/home0

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## .venv and ros2_ws/install (GPU=1: ONNX Runtime for CUDA)
	@./setup.sh

demo: setup ## the robot finds three places by their pictures (DEMO_SEED=n: other ones)
	@$(foresight) demo --seed $(DEMO_SEED)

demo-memory: setup ## it explores, all is restarted, and it finds three places by name (10 minutes)
	@$(foresight) demo --memory --seed $(DEMO_SEED) --results results/demo-memory

# Unit tests, one per core and each on one core, for the threads of two fight over them; then those
# of single nodes, which mostly wait; then those of the running stack, which keep time.
define run_tests
	@source ros2_ws/install/setup.bash; failed=0; \
		OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist loadfile --ignore tests/ros $(1) || failed=1; \
		.venv/bin/pytest -n 4 --dist loadfile tests/ros -m "not alone$(2)" || failed=1; \
		.venv/bin/pytest tests/ros -m "alone$(2)" || failed=1; \
		exit $$failed
endef

test: setup-dev ## unit tests, tests of the nodes and of the running stack (10 minutes)
	$(call run_tests,-m "not slow", and not slow)

test-all: export FORESIGHT_FUZZ ?= 300
test-all: export FORESIGHT_SEQUENCES ?= 5000
test-all: setup-dev ## also a patrol, every fault, more fuzzing (40 minutes)
	$(call run_tests)

train: setup-dev ## the shipped model anew: drive home 0, learn, export to models/apartment, evaluate
	@$(foresight) collect --world 0 --out $(work)/data
	@$(foresight) train --data $(work)/data --out $(work)/checkpoint
	@$(foresight) export --checkpoint $(work)/checkpoint --out models/apartment
	@for suite in near room; do $(foresight) evaluate --bundle models/apartment --suite $$suite \
		--episodes $(EPISODES) --json results/train/$$suite.json; done

bench: setup-dev ## speed, beside the physical limit of each part, in results/bench.json
	@$(foresight) bench --what all --json results/bench.json

faults: setup-dev ## REPETITIONS of each fault on the running graph, into docs/reliability.md
	@source ros2_ws/install/setup.bash && \
		{ FORESIGHT_FAULTS=$(REPETITIONS) .venv/bin/pytest tests/ros/test_faults.py || failed=1; \
		.venv/bin/python tests/ros/fault_table.py && exit $${failed:-0}; }

soak: setup ## an hour's patrol: does anything grow, slow down or die? (MINUTES=480: a night's)
	@$(foresight) soak --minutes $(MINUTES)

reference: setup-dev ## docs/ros.md and config/foresight.yaml, from what the nodes declare
	@source ros2_ws/install/setup.bash && .venv/bin/python docs/reference.py

lint: setup-dev ## ruff, mypy, hadolint
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/hadolint docker/Dockerfile*

clean: ## remove what setup made and what runs left behind
	rm -rf .venv ros2_ws/build ros2_ws/install ros2_ws/log results

.PHONY: setup-dev
setup-dev:
	@./setup.sh --dev
