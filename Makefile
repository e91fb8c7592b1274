# mbs: build, test, demo. `make help` lists the targets.
#
#   make demo | make test     install what is missing, build, run
#   make BUILD=debug          -O1 -g and poisoned buffers          (default release)
#   make REAL=double          the engine computes in double        (default float)
#   make SAN=address,undefined
#   make WERROR=1             warnings are errors                  (CI)
# Objects live in build/<kind>-<real>[-san]/, so builds never mix; build/mbs is always the release float program.

BUILD  ?= release
REAL   ?= float
SAN    ?=
WERROR ?=
comma  := ,

.DEFAULT_GOAL := all
DIR   := build/$(BUILD)-$(REAL)$(if $(SAN),-san)
TRIPLE := $(shell g++ -print-multiarch 2>/dev/null)
# Both builds of OpenBLAS may be installed; plain -lopenblas then takes the pthread one, which fights with OpenMP.
BLAS_DIR ?= /usr/lib/$(TRIPLE)/openblas-openmp

CXX      := g++
# -MD, not -MMD: what Highway includes once per instruction set would pass for a part of a system header.
CPPFLAGS := -I. -I$(BLAS_DIR:/usr/lib/%=/usr/include/%) -MD -MP $(if $(filter double,$(REAL)),-DMBS_REAL_DOUBLE) \
            $(if $(filter debug,$(BUILD)),-DMBS_POISON)
OPTIMIZE := $(if $(SAN),-O1 -g1,$(if $(filter debug,$(BUILD)),-O1 -g,-O3))
# No contraction: a product and a sum are fused where the source says so and nowhere else, so bits do not depend on
# the compiler's mood. The two -Wno- are false alarms of GCC 12 inside std::string (GCC bug 105651) and fmt.
CXXFLAGS = -std=c++20 -fopenmp -pthread $(OPTIMIZE) -ffp-contract=off \
            -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-restrict -Wno-stringop-overflow \
            $(if $(WERROR),-Werror) \
            $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
LDFLAGS  := -fopenmp -pthread $(if $(SAN),-fsanitize=$(SAN)) -L$(BLAS_DIR) -Wl,-rpath,$(BLAS_DIR)
LDLIBS   := -lopenblas -lhwy -lfmt -lz

LIB_SRC  := $(sort $(wildcard engine/*.cpp layers/*.cpp layers/*/*.cpp mbs/*.cpp wavecore/*.cpp datasets/*.cpp \
            $(wildcard apps/*/*.cpp)))
TEST_SRC := $(sort $(filter-out tests/peers/%,$(wildcard tests/*.cpp tests/*/*.cpp)))
# Every processor, unless the user said otherwise.
PARALLEL  = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
objects   = $(1:%.cpp=$(DIR)/obj/%.o)

.PHONY: all test run-tests demo bench bench-peers setup check check-deps check-format cachecheck format sanitize double clean help FORCE

all: $(DIR)/mbs $(if $(filter build/release-float,$(DIR)),build/mbs)  ## build the program (build/mbs)

test: setup  ## install what is missing, build and run all tests
	@$(MAKE) --no-print-directory $(PARALLEL) all run-tests

demo: setup  ## install what is missing, build, train ResNet-20 in two orders on real images (under 5 minutes)
	@$(MAKE) --no-print-directory $(PARALLEL) all
	@build/mbs demo

# Tables here, their figures as JSON in build/bench/. BENCH_ROUNDS=20 measures steps longer where others use the machine.
BENCH_ROUNDS ?= 6
bench: setup  ## install what is missing, build, measure the machine, kernels and steps of ResNet-20 (a minute)
	@$(MAKE) --no-print-directory $(PARALLEL) all
	@mkdir -p build/bench
	@build/mbs bench machine --out build/bench/machine.json
	@echo
	@build/mbs bench kernels resnet20 --out build/bench/kernels-resnet20.json
	@echo
	@build/mbs bench step resnet20 --orders baseline,mbs2 --profile --rounds $(BENCH_ROUNDS) \
	  --out build/bench/step-resnet20.json

setup:  ## install the Debian packages that are missing (with sudo where not root)
	@./setup.sh

# Under the sanitizers, which slow the kernels down most, in two processes: kernels and all the rest.
run-tests: export MBS_PROGRAM = $(DIR)/mbs
run-tests: $(DIR)/tests all  ## run the tests without looking at packages
ifeq ($(SAN),)
	@$(DIR)/tests
else
	@$(DIR)/tests -sf='*layers_*' > $(DIR)/kernels.log 2>&1 & kernels=$$!; \
	  $(DIR)/tests -sfe='*layers_*'; rest=$$?; \
	  wait $$kernels; kernels=$$?; cat $(DIR)/kernels.log; exit $$((kernels | rest))
endif

check: run-tests double sanitize check-deps check-format  ## everything that CI checks

double:  ## gradient checks to 1e-7: the tests with the engine computing in double
	@$(MAKE) --no-print-directory REAL=double all run-tests

sanitize:  ## the tests under the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory SAN=address$(comma)undefined all run-tests

check-deps:  ## no folder includes what DESIGN forbids (docs/architecture.md), and the check sees a planted fault
	@tests/check_deps.sh

SOURCES = $(wildcard engine/*.[ch]* layers/*.[ch]* layers/*/*.[ch]* mbs/*.[ch]* wavecore/*.[ch]* datasets/*.[ch]* \
          apps/*.[ch]* apps/*/*.[ch]* tests/*.[ch]pp tests/*.h tests/*/*.[ch]pp tests/*/*.h)
check-format:  ## the sources are formatted as .clang-format says
	@clang-format --dry-run -Werror $(SOURCES)

# Valgrind computes fused multiply-adds in slow software, so Highway makes none here; norms, where it makes some all the
# same, need -mfma for it. Which memory is touched when does not change. CACHECHECK=--json prints JSON.
cachecheck:  ## the model's DRAM traffic against cache misses of the real program under valgrind (docs/cachecheck.md, 8 minutes)
	@./setup.sh valgrind $$(command -v python3 >/dev/null || echo python3) >&2
	@$(MAKE) --no-print-directory $(PARALLEL) DIR=build/cachecheck CXX='$(CXX) -DHWY_DISABLE_BMI2_FMA -mfma' \
	  build/cachecheck/mbs >&2
	@tests/cachecheck.py build/cachecheck/mbs $(CACHECHECK)

# PEERS='--only resnet20 --rounds 5' passes options on; tests/peers/run.py --help lists them.
bench-peers:  ## training steps beside PyTorch, oneDNN and dlib: the ratios of docs/performance.md (45 minutes; PEERS=options)
	@./setup.sh python3-torch libdnnl-dev libdlib-dev >&2
	@$(MAKE) --no-print-directory $(PARALLEL) all build/peers/onednn_convolutions build/peers/dlib_resnet20 >&2
	@tests/peers/run.py $(PEERS)

format:  ## format the sources
	@clang-format -i $(SOURCES)

clean:  ## remove everything that was built
	rm -rf build

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16
	@echo "builds in $(DIR)/ with $(CXX)"

# --- rules ---

build/mbs: $(DIR)/mbs
	@ln -sf release-float/mbs $@

$(DIR)/mbs: $(call objects,$(LIB_SRC) apps/main.cpp)
	$(CXX) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(DIR)/tests: $(call objects,$(LIB_SRC) $(TEST_SRC))
	$(CXX) $(LDFLAGS) $^ $(LDLIBS) -o $@

# Rivals get what this machine has: their headers hold much of their code.
build/peers/%: tests/peers/%.cpp $(call objects,$(LIB_SRC))
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -march=native $(LDFLAGS) $(filter %.cpp %.o,$^) $(LDLIBS) -ldnnl -ldlib -o $@

# No hot loops here: compile fast. With sanitizers -O1 would take twice as long as -Og.
$(DIR)/obj/apps/%.o $(DIR)/obj/tests/%.o: OPTIMIZE := $(if $(SAN),-Og -g1,$(if $(filter debug,$(BUILD)),-O1 -g,-O1))

$(DIR)/obj/%.o: %.cpp $(DIR)/flags
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@

# A stamp that changes when the flags do, so that changed flags rebuild and equal ones do not.
FLAGS := $(CXX) $(CPPFLAGS) $(CXXFLAGS) $(LDFLAGS) $(LDLIBS)
$(DIR)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

-include $(shell find $(DIR)/obj build/peers -name '*.d' 2>/dev/null)
