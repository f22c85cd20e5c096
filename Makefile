# The commands of this project; each runs in the environment that scripts/with_env prepares.
WITH_ENV := scripts/with_env

# Named on the command line: make demo INPUT=path OUT=folder
INPUT ?=
OUT ?= out/demo
# Which image topic of a bag that has several: TOPIC=/camera/image_raw
TOPIC ?=
# Several cameras of a bag in one batch: CAMERAS=cam_front,cam_front_left, or CAMERAS=all
CAMERAS ?=
# Which model: a folder, hub:owner/name, tiny or untrained-tiny
BUNDLE ?=
# Where the model runs: auto, cpu, cuda or cuda:N
DEVICE ?=
# What the tiny bundle is trained on, and where: make train-tiny DATA=folder TINY=folder; CAMVID=no
# leaves research data out
DATA ?= ../shared/data
TINY ?= out/tiny
CAMVID ?= yes
# In a browser, live: make demo VIEW=web
VIEW ?=
# More words for the command: make test ARGS="-k forecast", make demo ARGS="--steps 2"
ARGS ?=
# How many processes run the tests: make test WORKERS=8, or WORKERS=0 for one after the other
WORKERS ?= 3
PYTEST := $(WITH_ENV) python -m pytest
# The tests of a file share its nodes, so a worker takes a whole file.
PARALLEL = -n $(WORKERS) --dist loadscope --no-loadscope-reorder

# A name that is mistyped on the command line would be ignored, and the default run instead.
KNOWN := INPUT OUT TOPIC CAMERAS BUNDLE DEVICE VIEW DATA TINY CAMVID ARGS WORKERS FORESIGHT_LAUNCH_PATH \
    FORESIGHT_PYTHON FORESIGHT_ENV_DIR
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(KNOWN) WITH_ENV SHELL MAKE% -*-%,$(GIVEN))
ifneq ($(UNKNOWN),)
    $(error $(firstword $(UNKNOWN))= is unknown here; known: $(KNOWN))
endif

.PHONY: help demo test test-unit test-long test-env test-launch train-tiny soak lint format \
    tables lock clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo:  ## forecast a video, a folder of images or a rosbag2: INPUT= OUT= BUNDLE= DEVICE=, of a bag TOPIC= or CAMERAS=
	@$(WITH_ENV) foresight demo --out "$(OUT)" $(if $(INPUT),--input "$(INPUT)") \
	    $(if $(BUNDLE),--bundle "$(BUNDLE)") $(if $(TOPIC),--topic "$(TOPIC)") $(if $(VIEW),--view "$(VIEW)") \
	    $(if $(CAMERAS),--cameras "$(CAMERAS)") $(if $(DEVICE),--device "$(DEVICE)") $(ARGS)

test:  ## run the tests (minutes): WORKERS= ARGS=
	@$(PYTEST) $(PARALLEL) $(ARGS)

test-unit: WORKERS = 2
test-unit:  ## run the quick tests: no process, no ROS node, nothing slow; says which took a second
	@$(PYTEST) $(PARALLEL) -m "not process and not slow and not bootstrap and not long" \
	    --durations=10 --durations-min=1 $(ARGS)

test-long:  ## run the tests that take longest, each a longer edition of one in `make test`
	@$(PYTEST) -m long $(ARGS)

test-env:  ## run the tests that prepare environments from nothing (minutes)
	@$(PYTEST) test/scripts -m bootstrap $(ARGS)

test-launch:  ## run the tests of launch files with the launch_ros of a sourced ROS, or FORESIGHT_LAUNCH_PATH=folders
	@FORESIGHT_LAUNCH_PATH="$(FORESIGHT_LAUNCH_PATH)" $(PYTEST) test/launch $(ARGS)

train-tiny:  ## make the bundle in assets/tiny from data (hours; goes on where it was): DATA=folder TINY=folder CAMVID=no
	@DATA="$(DATA)" CAMVID="$(CAMVID)" scripts/train_tiny.sh "$(TINY)"

soak:  ## 20 minutes or 20,000 frames with faults against a running node; ARGS="--minutes 2"
	@$(WITH_ENV) python test/faults/soak.py $(ARGS)

lint:  ## check style, format and types
	@$(WITH_ENV) ruff check .
	@$(WITH_ENV) ruff format --check .
	@$(WITH_ENV) mypy

format:  ## format the code and sort its imports
	@$(WITH_ENV) ruff check --fix --select I .
	@$(WITH_ENV) ruff format .

tables:  ## write the reference tables on the pages and the parameter files of config/ from the code
	@$(WITH_ENV) python scripts/reference_tables.py

lock:  ## choose exact versions afresh: scripts/requirements.in to requirements.txt
	@cd scripts && uv pip compile --universal --python-version 3.10 --upgrade --no-annotate \
	    --no-emit-package lark-parser --custom-compile-command "make lock" --quiet \
	    requirements.in --output-file requirements.txt

clean:  ## remove the environment and everything that was made
	rm -rf .env out build install log dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
