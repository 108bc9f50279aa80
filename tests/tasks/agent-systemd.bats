#!/usr/bin/env bats
# agent::install where systemd is: a shim plays it, in a mount namespace with an empty /run and /etc/systemd.

# shellcheck disable=SC2016 # programs for other shells

bats_require_minimum_version 1.5.0
load machine

setup() {
  ((EUID == 0)) || skip 'only root can cover up systemd'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  AGENTS=$BATS_TEST_TMPDIR/agents
  # Whatever the agents of a test leave running ends with the first process of its PID namespace.
  unshare --mount --pid --fork --mount-proc --propagation private --kill-child sh -c '
    mount -t tmpfs none /run && mount -t tmpfs none /etc/systemd && mkdir -p /run/systemd/system /etc/systemd/system
    touch "$1/ready"
    exec sleep infinity' - "$BATS_TEST_TMPDIR" 3>&- 2>"$LOG" &
  until [[ -e $BATS_TEST_TMPDIR/ready ]]; do kill -0 $!; done
  INIT=$(pgrep --parent $!)
  disown
}

teardown() {
  kill -KILL "$INIT"
}

inside() { # <program> [<argument>…]: runs it in there
  nsenter --target "$INIT" --mount --pid -- "$@" 3>&-
}

install() { # <name> <version> <text of the agent> [<parameter>=<value>…]
  local name=$1 version=$2 tarball
  mkdir -p "$BATS_TEST_TMPDIR/build"
  printf '#!/bin/sh\n%s\n' "$3" >"$BATS_TEST_TMPDIR/build/$name"
  chmod +x "$BATS_TEST_TMPDIR/build/$name"
  tarball=$BATS_TEST_TMPDIR/$name-$version.tgz
  tar --create --gzip --file="$tarball" --directory="$BATS_TEST_TMPDIR/build" "$name"
  shift 3
  status=0
  output=$(inside env PATH="$BATS_TEST_DIRNAME/shims/systemd:$PATH" PT__installdir="$SCRIPTS" PT_folder="$AGENTS" PT_health_timeout=5 \
    PT_name="$name" PT_version="$version" PT_sha256="$(sha256sum <"$tarball" | cut -d ' ' -f 1)" PT_content="$(base64 --wrap=0 "$tarball")" \
    "${@/#/PT_}" bash "$SCRIPTS/agent/tasks/install.sh" 2>"$LOG" </dev/null) || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
}

@test 'an agent gets a unit of its own, enabled and started' {
  install watcher 1.0 'exec sleep 1000'
  ((status == 0))
  answer '[.verdict, .way] | @csv' '"installed","systemd"'
  inside grep -qx "ExecStart=$AGENTS/watcher/current/watcher" /etc/systemd/system/watcher.service
  inside grep -qx 'enable --quiet watcher.service' /run/systemd/shim/calls
}

@test 'a version that ends at once gives way to the one before' {
  install watcher 1.0 'exec sleep 1000'
  install watcher 1.1 'exit 1'
  ((status == 1))
  answer .running 1.0
  [[ $(inside readlink "$AGENTS/watcher/current") == 1.0 ]]
}

@test "somebody else's unit is left as it is, but for what it starts" {
  printf '#!/bin/sh\nexec sleep 1000\n' >"$BATS_TEST_TMPDIR/ours"
  chmod +x "$BATS_TEST_TMPDIR/ours"
  printf '[Service]\nExecStart=%s\nKillMode=process\n' "$BATS_TEST_TMPDIR/ours" | inside tee /etc/systemd/system/other.service >/dev/null
  install other 1.1 'exec sleep 1000' command='other run'
  ((status == 0))
  inside grep -qx KillMode=process /etc/systemd/system/other.service
  inside grep -qx "ExecStart=$AGENTS/other/current/other run" /etc/systemd/system/other.service.d/ur-version.conf
}

@test 'a first version over a unit of somebody else that is not healthy leaves that one running' {
  printf '#!/bin/sh\nexec sleep 1000\n' >"$BATS_TEST_TMPDIR/ours"
  chmod +x "$BATS_TEST_TMPDIR/ours"
  printf '[Service]\nExecStart=%s\n' "$BATS_TEST_TMPDIR/ours" | inside tee /etc/systemd/system/other.service >/dev/null
  install other 1.1 'exit 1'
  ((status == 1))
  answer .running 'as before'
  inside test ! -e /etc/systemd/system/other.service.d/ur-version.conf
  [[ $(inside "$BATS_TEST_DIRNAME/shims/systemd/systemctl" show other.service) != 0 ]]
}

@test 'words of the command mean nothing but themselves to systemd' {
  install other 1.1 'exec sleep 1000' command='other --format=%s $HOME "quoted" back\slash'
  inside grep -qxF "ExecStart=$AGENTS/other/current/other --format=%%s \"\$\$HOME\" \"\\\"quoted\\\"\" \"back\\\\slash\"" /etc/systemd/system/other.service
}
