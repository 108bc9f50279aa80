# Every target works from a fresh Debian 12 or 13 with cargo (1.88): what else a target needs, it installs (tools/prerequisites).
# Those that need RabbitMQ find or start one themselves (tools/with-broker) and end what they started.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
DESTDIR ?=

HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# Linked statically, ur-agent runs in any initramfs or rescue image. With --target the flag spares proc macros, which
# cannot be static; and the tests use the same flag and profile, so that what they test is what is installed.
CARGO := env RUSTFLAGS='-C target-feature=+crt-static' cargo
SHIPPED := --release --locked --target $(HOST)
# Tests drive the shipped programs from outside, so they themselves need not be optimised as those are. One set of packages
# for all of them: cargo builds every dependency again for each set that asks for other features, or for another way to panic,
# which tests cannot choose.
DRIVE := env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_PANIC=unwind CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 $(CARGO)
TEST := $(DRIVE) --config 'target.$(HOST).runner="$(CURDIR)/tools/timed-test"' test $(SHIPPED) --workspace
BIN := $(or $(patsubst %/ur-agent,%,$(firstword $(wildcard target/$(HOST)/release/ur-agent target/*/release/ur-agent))),target/$(HOST)/release)
SCRIPTS_NEED := bats busybox jq gdisk:sgdisk fdisk:sfdisk dosfstools:mkfs.vfat e2fsprogs:mkfs.ext4 curl zstd minisign tcpdump iproute2:ip \
  uuid-runtime:uuidgen procps:pgrep mtools:mcopy xorriso cloud-guest-utils:growpart dropbear-bin:dropbear \
  openssh-client:ssh sshpass openssl qemu-utils:qemu-img mbuffer xz-utils:xz
# grub-mkrescue, and what it takes to boot by BIOS and by UEFI.
GRUB := grub-common:grub-mkrescue grub-pc-bin:/usr/lib/grub/i386-pc/boot.img grub-efi-amd64-bin:/usr/lib/grub/x86_64-efi/acpi.mod
# SUITE=trixie makes ramdisks of that Debian, and boots them, whatever this one is.
RAMDISKS := target/ramdisk$(addprefix -,$(SUITE))
RAMDISK = $(RAMDISKS)/$(or $(PROFILE),minimal)
BUILD_ZFS = tools/prerequisites gcc make binutils:strip libelf1:/lib/x86_64-linux-gnu/libelf.so.1 && boot/zfs $(RAMDISKS)
# The large ones first: the last to end should be a small one. Tests wait for others half of their time.
BATS := $(shell ls -S tests/tasks/*.bats) tests/packages/deb.bats
DEB_NEEDS := debhelper:dh dpkg-dev:dpkg-buildpackage
BROKER_BATS := tests/tasks/agent-upgrade.bats tests/tasks/power.bats
BROKER_TESTS := wire scripts output limits outage crash refuse secrets
IN_TRIXIE := tools/debian-13 tasks . bats --timing
AT_ONCE := $(shell expr $$(nproc) + 1)
# Not by its own name, which make runs even when it is to show what it would do.
SUBMAKE = $(MAKE) --silent
# Scenarios in QEMU. Which ramdisk one boots stands in its file.
QUICK := announce ramdisk
SCENARIOS = $(patsubst %,tests/vm/%.bats,$(or $(SCENARIO),$(QUICK)))
PROFILES = $(shell sed -nE 's,.*(load_ramdisk |RAMDISKS"?/)(minimal|full|zfs).*,\2,p' $(SCENARIOS))
VM_NEEDS := rabbitmq-server bats jq python3 cpio zstd qemu-system-x86:qemu-system-x86_64 ovmf:/usr/share/OVMF/OVMF_CODE_4M.fd \
  xorriso mtools:mformat dosfstools:mkfs.vfat e2fsprogs:mkfs.ext4 fdisk:sfdisk openssh-client:ssh curl mmdebstrap $(GRUB)

.PHONY: help build demo test test-integration test-broker-4 test-trixie test-chaos test-rooms ramdisk iso vm vm-all vm-demo chaos flood lint pages bench bench-once bench-fleet deb install clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

build: ## the programs, static: target/HOST/release/ur-agent, ur and ur-writer
	$(CARGO) build $(SHIPPED) -p ur-agent -p ur -p ur-writer

demo: build ## three agents on this machine, and what one does with them
	UR_BIN_DIR=$(CURDIR)/target/$(HOST)/release tools/with-broker examples/demo

test: build ## all tests, side by side, against private RabbitMQs, or the one that UR_AMQP_URL names
	tools/prerequisites rabbitmq-server python3 zsh mandoc $(SCRIPTS_NEED) $(DEB_NEEDS) lintian mmdebstrap
	$(TEST) --no-run
	tools/side-by-side $(AT_ONCE) '$(SUBMAKE) test-integration' '$(SUBMAKE) test-chaos' \
	  $(patsubst %,'tools/with-broker --private bats --timing %',$(BROKER_BATS)) \
	  $(patsubst %,'bats --timing %',$(filter-out $(BROKER_BATS),$(BATS))) '$(SUBMAKE) test-rooms'

# What a test says on its own: the programs from outside, a minute of faults, and each room by itself.
test-integration:
	tools/with-broker --private $(TEST) --test integration

# What depends on the version of the broker, on the RabbitMQ of Debian 13.
test-broker-4: build
	tools/prerequisites mmdebstrap python3 busybox
	UR_BROKER=4 tools/with-broker $(TEST) --test integration -- $(addsuffix ::,$(BROKER_TESTS))

test-trixie: build ## the tasks' tests with Debian 13's programs, on this machine's kernel
	tools/prerequisites mmdebstrap rabbitmq-server
	tools/side-by-side $(AT_ONCE) $(patsubst %,'tools/with-broker --private $(IN_TRIXIE) %',$(BROKER_BATS)) \
	  $(patsubst %,'$(IN_TRIXIE) %',$(filter-out $(BROKER_BATS) %/deb.bats,$(BATS)))

test-chaos:
	CHAOS_SECONDS=$(or $(CHAOS_SECONDS),60) $(TEST) --test chaos

test-rooms:
	$(TEST) --lib --bins --no-fail-fast

ramdisk: build ## kernel and initramfs with ur-agent: target/ramdisk/minimal, or PROFILE=full, or PROFILE=zfs; CA=FILE for amqps://
	tools/prerequisites cpio kmod zstd xz-utils:xz
	$(if $(filter full zfs,$(PROFILE)),tools/jaq)
	SUITE=$(SUITE) CA=$(CA) boot/ramdisk $(or $(PROFILE:zfs=full),minimal) $(BIN)/ur-agent $(RAMDISKS)
	$(if $(filter zfs,$(PROFILE)),$(if $(SUITE),tools/debian-13 modules . boot/zfs $(RAMDISKS),$(BUILD_ZFS)))

iso: ramdisk ## an image of it for virtual media: PROFILE=full, ARGUMENTS for its kernel
	tools/prerequisites xorriso mtools:mformat $(GRUB)
	boot/iso $(RAMDISK) $(RAMDISK)/ur.iso $(ARGUMENTS)

vm: ## emulated machines that boot the ramdisk, by the quick scenarios (minutes), or SCENARIO=erase
	$(foreach profile,$(sort $(PROFILES)),$(MAKE) ramdisk PROFILE=$(profile) && ) true
	tools/prerequisites $(VM_NEEDS)
	SUITE=$(SUITE) UR_BIN_DIR=$(CURDIR)/$(BIN) tools/with-broker --private tools/side-by-side 1 $(patsubst %,'bats --timing %',$(SCENARIOS))

vm-all: ## every scenario (an hour) with its time, and what scripts do to md and LVM on a kernel that has them
	$(MAKE) vm SCENARIO='$(patsubst tests/vm/%.bats,%,$(wildcard tests/vm/*.bats))'
	tools/in-vm tests/tasks/disk-stacks.bats

vm-demo: ## an emulated machine from a blank disk to a running system, by tasks, with the time of each
	$(MAKE) ramdisk PROFILE=full
	tools/prerequisites $(VM_NEEDS)
	UR_BIN_DIR=$(CURDIR)/$(BIN) tools/with-broker --private examples/vm-demo

chaos: build ## the fault campaign of docs/reliability.md: 20 minutes, or CHAOS_SECONDS; CHAOS_SEED repeats one
	tools/prerequisites rabbitmq-server
	CHAOS_SECONDS=$(or $(CHAOS_SECONDS),1200) $(DRIVE) test $(SHIPPED) --workspace --test chaos

flood: build ## floods and outages of docs/reliability.md: twelve minutes, and tables
	tools/prerequisites rabbitmq-server
	tools/with-broker --private $(DRIVE) test $(SHIPPED) --workspace --test integration -- --ignored --nocapture --test-threads 1

lint: ## formats, clippy, docs, licences of dependencies, shell scripts
	cargo fmt --check
	$(CARGO) clippy $(SHIPPED) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(SHIPPED) --workspace --no-deps
	tools/prerequisites shellcheck shfmt
	tools/lint-shell
	tools/forbid
	tools/deny

pages: ## docs/tasks, a page for each task, from its metadata
	$(CARGO) run --quiet $(SHIPPED) -p ur -- task pages docs/tasks

bench: build ## the benchmarks, against a private RabbitMQ; and image::write beside what one would type instead
	tools/prerequisites openssh-server:sshd $(SCRIPTS_NEED)
	tools/with-broker --private $(CARGO) bench --locked --target $(HOST) -p ur-benches --bench request
	tools/bench-images

bench-once: build
	tools/with-broker --private $(DRIVE) test $(SHIPPED) --workspace --bench request
	$(SUBMAKE) bench-fleet NODES=100 AGENTS=10

bench-fleet: build ## ur over 100, 1000 and 10,000 simulated nodes (NODES), and 300 agents (AGENTS) whose broker restarts
	tools/prerequisites rabbitmq-server
	$(DRIVE) build $(SHIPPED) --workspace --bin fleet
	NODES=$(NODES) AGENTS=$(AGENTS) tools/with-broker --private target/$(HOST)/release/fleet

deb: build ## Debian packages of ur and ur-agent: target/deb
	tools/prerequisites $(DEB_NEEDS)
	packaging/deb $(BIN) target/deb

install: ## install what was built: PREFIX=/usr/local, DESTDIR for packagers
	@test -x $(BIN)/ur-agent || { echo 'nothing to install: run make build first' >&2; exit 1; }
	install -D -t $(DESTDIR)$(PREFIX)/bin $(BIN)/ur-agent $(BIN)/ur $(BIN)/ur-writer
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local|$(PREFIX)|' packaging/ur-agent.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/ur-agent.service
	$(BIN)/ur man $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 packaging/ur-agent.1
	install -d $(DESTDIR)$(PREFIX)/share/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
	$(BIN)/ur completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ur
	$(BIN)/ur completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ur
	$(BIN)/ur completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ur.fish

clean: ## remove what was built
	cargo clean
