# The README's two commands are `make convert` and `make test`. Both make .venv first, once: the one installs what
# conversion needs, the other adds the rest.
PYTHON ?= python3
# Where pip would take PyTorch with CUDA (Linux x86-64): PIP_FLAGS='--extra-index-url https://download.pytorch.org/whl/cpu'
PIP_FLAGS ?=
VENV := .venv
STAMP := $(VENV)/.installed
CONVERTS := $(VENV)/.converts
# Half of the tests wait for a process of their own: one worker more than there are cores, 5 at most. Files are begun in
# the order of tests/conftest.py. What librosa compiles in a fresh .venv is to compare with: the compiler takes no pains.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 5)))
PYTEST := OMP_NUM_THREADS=1 NUMBA_OPT=0 $(VENV)/bin/python -m pytest -q -n $(WORKERS) \
	--dist loadfile --no-loadscope-reorder

# What is imported is compiled once, not by every process of the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: convert check test proof swift-toolchain swift-test swift-check conformance models layer ui clean

convert: $(CONVERTS)
	$(VENV)/bin/python -m convert model=hifigan precision=fp16

# Lint and types.
check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# What is converted is kept in .cache/tests until a source changes. PYTEST_ARGS: such as '--durations=0' or a folder.
# The Swift package is built beside the installation of Python's, as tests/swift executes it. Its own tests and the types
# are checked beside Python's tests, on a core that these leave free at times, and told after them.
test:
	@$(MAKE) --no-print-directory -j 2 $(STAMP) swift-build
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@mkdir -p .cache
	@$(MAKE) --no-print-directory beside > .cache/beside.log 2>&1 & beside=$$!; trap "kill $$beside" INT TERM; \
	$(PYTEST) $(PYTEST_ARGS); tests=$$?; \
	wait $$beside; others=$$?; cat .cache/beside.log; exit $$((tests ? tests : others))

.PHONY: beside swift-build
beside:
	$(VENV)/bin/mypy
	@if $(HAS_SWIFT); then $(MAKE) --no-print-directory swift-test; \
	else echo "swift: not tested, there is no Swift 6 here (make swift-toolchain)"; fi

# What takes too long for every push: the tests of `make test` at the bundled vocoder's full width, streaming of every
# vocoder at its published width, whole voices, the kernels under ThreadSanitizer. The faults that fork a job come first,
# in a process of their own: a fork of one that has threads already may hang.
FORKING := tests/faults/test_proof_kills.py tests/faults/test_proof_full_disk.py
proof: $(STAMP)
	$(VENV)/bin/python -m pytest -q -m proof $(FORKING)
	$(PYTEST) -m proof $(FORKING:%=--ignore %) $(PYTEST_ARGS)

# The Swift package of swift/README.md. A toolchain is one that is on the PATH, or Debian 13's, which is installed or kept
# in the user's cache (2.6 GB).
swift-toolchain:
	swift/toolchain make

HAS_SWIFT := swift/toolchain state > /dev/null 2>&1
SWIFT_BUILD := swift/toolchain run swift build --scratch-path .cache/swift/build --build-tests --disable-xctest -j 2
swift-build:
	@mkdir -p .cache/swift
	@if $(HAS_SWIFT); then $(SWIFT_BUILD) > .cache/swift/build.log 2>&1 || { cat .cache/swift/build.log; exit 1; }; fi

# What is compared with Python is written by it first.
SWIFT_FIXTURES := $(CURDIR)/.cache/swift/fixtures
SWIFT_TEST := swift/toolchain run swift test --scratch-path .cache/swift/build --disable-xctest -j 2
swift-test: $(STAMP)
	@if swift/toolchain run swift format --version | grep -q '^600\.'; \
	then swift/toolchain run swift format lint --strict -r Package.swift swift runtime/speech/opus; \
	else echo "swift: not linted, which the formatter of Swift 6.0 does (others have other rules)"; fi
	$(VENV)/bin/python -m runtime fixtures $(SWIFT_FIXTURES) --texts tests/runtime/speech/spoken_texts.yaml > /dev/null
	@mkdir -p .cache/swift
	VOXPORT_FIXTURES=$(SWIFT_FIXTURES) $(SWIFT_TEST) > .cache/swift/test.log 2>&1 || { cat .cache/swift/test.log; exit 1; }
	@grep -E "^EQUALITY|Test run with" .cache/swift/test.log | sed 's/^EQUALITY //'

# The package's pages by DocC, of everything that is public, over fakes of Apple's frameworks: what it warns of fails.
SWIFT_LIBRARIES := VoxportRuntime VoxportONNX VoxportCoreML VoxportAudio
SWIFT_DOCS := .cache/swift/docs
SWIFT_SYMBOLS := swift package --scratch-path .cache/swift/fakes dump-symbol-graph --minimum-access-level public
.PHONY: swift-docs
swift-docs:
	@rm -rf $(SWIFT_DOCS) && mkdir -p $(SWIFT_DOCS)
	VOXPORT_FAKES=1 swift/toolchain run $(SWIFT_SYMBOLS) > $(SWIFT_DOCS)/symbols.log
	@for library in $(SWIFT_LIBRARIES); do \
		mkdir -p $(SWIFT_DOCS)/$$library; \
		cp .cache/swift/fakes/*/symbolgraph/$$library*.json $(SWIFT_DOCS)/$$library || exit 1; \
		PATH="$$PATH:/usr/libexec/swift/bin" swift/toolchain run docc convert --warnings-as-errors --analyze \
			--additional-symbol-graph-dir $(SWIFT_DOCS)/$$library --fallback-display-name $$library \
			--fallback-bundle-identifier voxport.$$library --output-path $(SWIFT_DOCS)/$$library.doccarchive || exit 1; \
	done

# What takes longer: what is Apple's over fakes of its frameworks, a Mac's and, where they differ, iOS's; and all tests but
# iOS's under ThreadSanitizer.
SWIFT_FAKES := $(SWIFT_TEST:.cache/swift/build=.cache/swift/fakes)
swift-check: swift-test
	VOXPORT_FAKES=1 VOXPORT_FIXTURES=$(SWIFT_FIXTURES) $(SWIFT_FAKES)
	@$(MAKE) --no-print-directory swift-docs
	VOXPORT_FAKES=ios $(SWIFT_TEST:.cache/swift/build=.cache/swift/ios) --filter VoxportAppleTests
	$(PYTEST) tests/swift $(PYTEST_ARGS)
	VOXPORT_FAKES=1 VOXPORT_FIXTURES=$(SWIFT_FIXTURES) $(SWIFT_TEST:.cache/swift/build=.cache/swift/tsan) --sanitize=thread

# coremltools' own tests, all of them, executed by the reference engine (an hour on two cores; outcomes are kept), those of
# layers and twelve cases of every class by that of neural networks, and two of every class by the fast one.
conformance: $(STAMP)
	$(VENV)/bin/python -m benchmarks.conformance
	$(VENV)/bin/python -m benchmarks.conformance --engine neuralnetwork --suite layers
	$(VENV)/bin/python -m benchmarks.conformance --engine neuralnetwork --per-class 12
	$(VENV)/bin/python -m benchmarks.conformance --engine onnx --per-class 2 --report docs/conformance.md

# docs/models.md: every family, format and precision, converted and executed here (hours on two cores; goes on with the rows that the page lacks).
models: $(STAMP)
	$(VENV)/bin/python -m benchmarks.models docs/models.md

# On a Mac: whether Apple's compilers take the custom layer's Swift class and its kernel.
layer: $(STAMP)
	rm -rf build/layer
	$(VENV)/bin/python -c "from pathlib import Path; from ops.metal.package import write_package as w; w(Path('build/layer'))"
	xcrun swiftc -typecheck build/layer/Sources/HiFiGANUpsample/*.swift
	xcrun -sdk macosx metal -c build/layer/Kernels/upsample_texture.metal -o build/layer/upsample.air

# MLflow of the store in this folder; the addresses of its pages come first.
ui: $(STAMP)
	$(VENV)/bin/python -m reports ui

INSTALL = $(PYTHON) -m venv $(VENV) && \
	$(VENV)/bin/python -m pip install --quiet --no-compile $(PIP_FLAGS) --constraint constraints.txt --editable
$(CONVERTS): pyproject.toml constraints.txt
	$(INSTALL) '.[convert,espeak,live]'
	touch $@
$(STAMP): pyproject.toml constraints.txt
	$(INSTALL) '.[test]'
	touch $(CONVERTS) $@

clean:
	rm -rf $(VENV) .cache build dist *.egg-info
