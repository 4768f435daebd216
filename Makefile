# vnbd -- make, make check, make asan, make tsan, make clang, make lint, make fuzz, make bench, make install
#
# Each variant builds in build/VARIANT/ and nothing is shared between them:
#   release (default)   asan: address and undefined behaviour   tsan: threads   clang: the other compiler
# make check T='flush-*' runs the tests whose names match; VARIANT=asan runs them on that build.

VARIANT ?= release
B := build/$(VARIANT)
CC := gcc
PREFIX ?= /usr/local
VERSION := 0.1

# A sanitizer's build is run once or twice: a level less is compiled in less time, by gcc by a third, by clang by a tenth.
OPTIMIZE := $(if $(filter asan tsan fuzz,$(VARIANT)),-O1,-O2)
CFLAGS ?= $(OPTIMIZE) -g
WERROR ?= $(if $(CI),-Werror)
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -DVNBD_VERSION='"$(VERSION)"' -I. \
	-Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla $(WERROR) \
	-pthread -fno-omit-frame-pointer -fstack-protector-strong -fPIE $(CFLAGS)
ALL_LDFLAGS := -pthread -pie -Wl,-z,relro,-z,now $(LDFLAGS)

# By clang, so that the other compiler has every test that runs here too.
ifeq ($(VARIANT),asan)
CC := clang
ALL_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all
ALL_LDFLAGS += -fsanitize=address,undefined -fuse-ld=lld
endif
ifeq ($(VARIANT),tsan)
# It does not know vumock's fences, which is not what the tests look at.
ALL_CFLAGS += -fsanitize=thread -Wno-tsan
ALL_LDFLAGS += -fsanitize=thread
endif
ifeq ($(VARIANT),clang)
CC := clang
endif
ifeq ($(VARIANT),fuzz)
CC := clang
ALL_CFLAGS += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
ALL_LDFLAGS += -fsanitize=address,undefined
endif

ifeq ($(VARIANT),coverage)
CC := clang
ALL_CFLAGS += -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping
ALL_LDFLAGS += -fprofile-instr-generate
endif

# libsystemd is loaded where it is needed: server/service_manager.h.
SERVER_LIBS := -luring -lev -lgnutls -ljansson -lm
CLIENT_LIBS := -lnbd -luring -lev -lmnl
CTL_LIBS := -ljansson
ALL_LIBS := $(CLIENT_LIBS) -lgnutls $(CTL_LIBS) -lm

# make V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $(2))

ROOMS := conf cache server virtio client
sources = $(wildcard $(1)/*.c)
# What has a main() of its own is in no archive.
MAINS := %/main.c conf/vnbdctl.c
objects = $(patsubst %.c,$(B)/%.o,$(filter-out $(MAINS),$(call sources,$(1))))

SERVER := $(B)/vnbd-server
CLIENT := $(B)/vnbd-client
CTL := $(B)/vnbdctl
REPLAY := $(B)/vnbd-replay
PROGRAMS := $(SERVER) $(CLIENT) $(CTL) $(REPLAY)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%.t,$(wildcard tests/unit/*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$(B)/tests/%,$(wildcard tests/tools/*.c))

all: $(PROGRAMS)

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# One archive a room: a program or test takes from it only what it uses.
define ROOM
$(B)/$(1).a: $$(call objects,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(Q)$$(AR) rcs $$@ $$^
endef
$(foreach room,$(ROOMS),$(eval $(call ROOM,$(room))))

$(SERVER): $(B)/server/main.o $(B)/server.a $(B)/cache.a $(B)/conf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(SERVER_LIBS)

$(CLIENT): $(B)/client/main.o $(B)/client.a $(B)/virtio.a $(B)/cache.a $(B)/conf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CLIENT_LIBS)

$(CTL): $(B)/conf/vnbdctl.o $(B)/conf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CTL_LIBS)

$(REPLAY): $(B)/cache/main.o $(B)/cache.a $(B)/conf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

# A unit test links whichever rooms it needs, upper rooms first.
$(B)/tests/%.t: $(B)/tests/unit/%.o $(B)/server.a $(B)/client.a $(B)/virtio.a $(B)/cache.a $(B)/conf.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(ALL_LIBS)

$(B)/tests/%: $(B)/tests/tools/%.o $(B)/client.a $(B)/virtio.a $(B)/cache.a $(B)/conf.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CLIENT_LIBS) -lgnutls

# The benchmark's own programs: each lists its parts.
BENCH := $(B)/bench
bench_objects = $(patsubst %.c,$(B)/tests/bench/%.o,latency.c $(1))
$(BENCH)/nbdload: $(call bench_objects,$(addprefix nbd/,nbdload.c options.c dial.c phase.c request.c reply.c verify.c processes.c report.c))
$(BENCH)/nbdfloor: $(call bench_objects,nbd/nbdfloor.c)
$(BENCH)/vuload: $(call bench_objects,$(addprefix vhost/,vuload.c setup.c run.c worker.c vu.c ring.c))
$(BENCH)/vumock: $(call bench_objects,$(addprefix vhost/,vumock.c mock_messages.c mock_memory.c mock_ring.c mock_nbd.c))
BENCH_TOOLS := $(addprefix $(BENCH)/,nbdload nbdfloor vuload vumock)
$(BENCH_TOOLS):
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

$(BENCH)/nodelay.so: tests/bench/vhost/nodelay.c
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -shared -fPIC -o $@ $< -ldl

bench-tools: $(BENCH_TOOLS) $(BENCH)/nodelay.so

# make bench QUICK=1, make bench, make bench BENCH=long; see tests/bench/README.md
bench: $(PROGRAMS) bench-tools
	@tests/bench/run --build $(B) $(BENCH_ARGS)

GUEST := build/guest/initramfs.img
guest: $(GUEST)
$(GUEST): $(wildcard tests/guest/build-guest tests/guest/init*)
	tests/guest/build-guest build/guest

# With the kernel of the next Debian, which has VDUSE. Its test tells why where it cannot be had.
GUEST_NEXT := build/guest-trixie/initramfs.img
$(GUEST_NEXT): $(wildcard tests/guest/build-guest tests/guest/init*)
	tests/guest/build-guest build/guest-trixie trixie || [ -s build/guest-trixie/missing ]

# T names the tests to run, NOT those to leave out; both are file names' beginnings or patterns without ".t".
T ?= *
NOT ?=
JOBS ?= 2
named = $(wildcard tests/$(1).t) $(filter $(patsubst %,$(B)/tests/%.t,$(subst *,%,$(1))),$(UNIT_TESTS))
TESTS = $(filter-out $(foreach n,$(NOT),$(call named,$n)),$(sort $(foreach t,$(T),$(call named,$t))))
PROVE = VNBD_BUILD=$(B) CMOCKA_MESSAGE_OUTPUT=TAP prove --exec '' --jobs $(JOBS) --timer --failures --comments \
	$(PROVE_FLAGS)

# Of the unit tests those that run are built.
check: $(PROGRAMS) $(filter $(UNIT_TESTS),$(TESTS)) $(TEST_TOOLS) $(BENCH_TOOLS) $(GUEST) $(GUEST_NEXT)
	$(PROVE) $(TESTS)

# Without the guests: what runs in a minute or two.
check-fast: $(PROGRAMS) $(filter $(UNIT_TESTS),$(TESTS)) $(TEST_TOOLS) $(BENCH_TOOLS)
	$(PROVE) $(filter-out tests/guest-%,$(TESTS))

# What is worth the thread sanitizer's time: more than one thread at work. (The link tests' program has but one.)
THREADED := mail-* flushes-* range-* unaligned-* queues-* vhost-user-outlives-* connections-* hundreds-* sigterm-* \
	client-* a-cut-* memory-is-found-* rules-* control-* volatile-* power-cuts-* ghost-* records-of-several-*
check-threads:
	TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp $(MAKE) VARIANT=tsan check-fast T='$(THREADED)'

# vnbd-client killed KILLS times under a guest's load, for each layout of the rings, and below a host's own disk.
KILLS ?= 100
check-kills: $(PROGRAMS) $(TEST_TOOLS) $(GUEST) $(GUEST_NEXT)
	VNBD_KILLS=$(KILLS) $(PROVE) --verbose tests/guest-survives-a-killed-client.t tests/guest-uses-a-vduse-disk.t

# This server and its peers, row by row of the specification.
conformance: $(PROGRAMS)
	tests/conformance/report $(B) >docs/conformance.md.new
	mv docs/conformance.md.new docs/conformance.md

check-unit: $(PROGRAMS) $(UNIT_TESTS)
	$(PROVE) $(UNIT_TESTS)

asan tsan clang:
	$(MAKE) VARIANT=$@ check

C_FILES = $(foreach room,$(ROOMS),$(call sources,$(room)))
LINT := $(patsubst %.c,build/lint/%.ok,$(C_FILES))
build/lint/%.ok: %.c .clang-tidy
	@mkdir -p $(@D)
	$(call say,TIDY,$<)
	$(Q)clang-tidy --quiet $< -- -std=c11 -D_GNU_SOURCE -DVNBD_VERSION='""' -I. 2>/dev/null
	@touch $@

lint: $(LINT) lint-cppcheck lint-format

lint-cppcheck:
	$(Q)cppcheck --quiet --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	-D_GNU_SOURCE -DVNBD_VERSION='""' -I. $(ROOMS)

lint-format:
	$(Q)clang-format --dry-run -Werror $(wildcard */*.[ch] tests/*/*.[ch] tests/*/*/*.[ch])

# Fuzzers: clang's libFuzzer with the address and undefined behaviour sanitizers, FUZZ_S seconds each.
FUZZ_S ?= 30
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/%,$(wildcard tests/fuzz/*.c))
$(B)/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/server.a $(B)/client.a $(B)/virtio.a $(B)/cache.a $(B)/conf.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(ALL_LIBS)

# Each may have a folder of inputs to begin with, of the name that follows fuzz_.
seeds = $$(ls -d tests/fuzz/corpus/$$(basename $(1) | sed s/fuzz_//) 2>/dev/null)

ifeq ($(VARIANT),fuzz)
RUNS := $(addsuffix -run,$(FUZZERS))
fuzz: $(RUNS)

# One at a time, or as many as make -j allows: what each says stays together.
$(RUNS): %-run: %
	@mkdir -p $<.corpus
	@$< -max_total_time=$(FUZZ_S) -timeout=60 -print_final_stats=1 -verbosity=0 -close_fd_mask=2 \
		-artifact_prefix=$<- $<.corpus $(call seeds,$<) >$<.log 2>&1; status=$$?; \
		{ echo "== $<, $(FUZZ_S) s"; cat $<.log; } && exit $$status
.PHONY: $(RUNS)
else
fuzz:
	$(MAKE) VARIANT=fuzz fuzz
endif

# What of the code that reads peers the seeds and the corpora that make fuzz has left reach, as a table.
ifeq ($(VARIANT),coverage)
fuzz-coverage: $(FUZZERS)
	@tests/fuzz/coverage $(FUZZERS)
else
fuzz-coverage:
	@$(MAKE) --no-print-directory VARIANT=coverage fuzz-coverage
endif

MANUALS = $(foreach room,$(ROOMS),$(wildcard $(room)/*.[1-8]))

# Where QEMU's and libvirt's tools look for vhost-user back-ends, if PREFIX is /usr or /usr/local.
BACKENDS = $(PREFIX)/share/qemu/vhost-user

install: $(PROGRAMS)
	install -D -t $(DESTDIR)$(PREFIX)/sbin $(PROGRAMS)
	for page in $(MANUALS); do \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit 1; done
	install -D -m 644 contrib/vnbdctl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vnbdctl
	install -d $(DESTDIR)$(BACKENDS)
	sed 's|@SBINDIR@|$(PREFIX)/sbin|' contrib/50-vnbd-client.json.in >$(DESTDIR)$(BACKENDS)/50-vnbd-client.json
	chmod 644 $(DESTDIR)$(BACKENDS)/50-vnbd-client.json

demo:
	contrib/demo

# What a file system or database looks like in STATES states that a power cut may leave, and a database after CUTS power cuts:
# docs/crash-testing.md. Minutes.
STATES ?= 300
CUTS ?= 50
crash-tests: $(PROGRAMS) $(GUEST)
	VNBD_BUILD=$(B) contrib/crash-tests/all $(STATES) $(CUTS)

format:
	clang-format -i $(wildcard */*.[ch] tests/*/*.[ch] tests/*/*/*.[ch])

clean:
	rm -rf build

.PHONY: all crash-tests bench bench-tools guest check check-fast check-kills check-threads check-unit conformance lint fuzz fuzz-coverage install demo asan tsan clang format lint-cppcheck lint-format clean
.SECONDARY:
.DELETE_ON_ERROR:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
