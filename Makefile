# Everything is built under build/; `make build` is for working on the package in place.
PYTHON ?= python3
CC_AARCH64 ?= aarch64-linux-gnu-gcc
QEMU_AARCH64 ?= qemu-aarch64
SEED ?= 1
BUILD = build

# The flags that decide the bits are those of src/santacoder/_build.py.
CFLAGS = -std=c11 -O2 -ffp-contract=off -fno-math-errno -pthread
WARNINGS = -Wall -Wextra -Wconversion -Werror
SANITIZERS = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

HEADERS = $(wildcard csrc/*.h csrc/*/*.h tests/kernels/*.h)
OBJECTS = $(patsubst %.c,%.o,$(wildcard csrc/*.c tests/kernels/*.c))

.PHONY: build test check-kernels check-neon bench lint sanitize sanitize-extension asm-check clean

build:
	$(PYTHON) setup.py build_ext --inplace

test: build
	$(PYTHON) -m pytest

check-kernels: $(BUILD)/native/check_kernels
	$< --seed $(SEED)

check-neon: $(BUILD)/aarch64/check_kernels
	$(QEMU_AARCH64) -cpu max $< --seed $(SEED) --isa neon
	$(QEMU_AARCH64) -cpu max $< --seed $(SEED) --isa neon_dotprod

bench: build
	$(PYTHON) -m santacoder.cli bench

lint:
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

sanitize: $(BUILD)/sanitize/check_kernels
	$< --seed $(SEED)

# Registers that the hot loops spill to the stack: see the limits in the script.
asm-check: $(addprefix $(BUILD)/native/csrc/,isa_avx2.o isa_avxvnni.o isa_avx512.o)
	$(PYTHON) tests/kernels/asm_check.py $^

clean:
	rm -rf $(BUILD)

$(BUILD)/aarch64/%: CC = $(CC_AARCH64)
$(BUILD)/aarch64/check_kernels: LDFLAGS = -static
$(BUILD)/sanitize/%: CFLAGS += $(SANITIZERS)

# The library's headers are "system" headers here: the warnings are about the checks.
define objects
$(BUILD)/$(1)/csrc/%.o: csrc/%.c $(HEADERS)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) -Icsrc -c $$< -o $$@

$(BUILD)/$(1)/tests/kernels/%.o: tests/kernels/%.c $(HEADERS)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $(WARNINGS) -isystem csrc -c $$< -o $$@

$(BUILD)/$(1)/check_kernels: $(addprefix $(BUILD)/$(1)/,$(OBJECTS))
	$$(CC) $$(CFLAGS) $$(LDFLAGS) $$^ -o $$@ -lm
endef
$(foreach kind,native aarch64 sanitize,$(eval $(call objects,$(kind))))
