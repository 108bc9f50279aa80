#!/usr/bin/env bats
# agent::install of ur-agent by ur-agent: the real one, on a real broker, started again by an init whenever it ends. It is
# in a PID namespace of its own, where it is the only one.

# shellcheck disable=SC2016 # programs for other shells

bats_require_minimum_version 1.5.0
load machine
load http

setup() {
  local built
  ((EUID == 0)) || skip 'only root can make namespaces'
  [[ -n ${UR_AMQP_URL:-} ]] || skip 'there is no broker: run it by tools/with-broker --private'
  for built in "${UR_BIN_DIR:-}" "$BATS_TEST_DIRNAME"/../../target/*/release; do [[ ! -x $built/ur-agent || ! -x $built/ur ]] || break; done
  [[ -x $built/ur-agent ]] || skip 'ur-agent has not been built: make build'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  BIN=$BATS_TEST_TMPDIR/bin
  mkdir "$BIN"
  cp "$built/ur-agent" "$built/ur" "$BIN"
  NODE=$(uuidgen)
  printf '#!/bin/sh\necho \x27{"UUID":"%s","Hostname":"upgraded"}\x27\n' "$NODE" >"$BIN/sysinfo"
  chmod +x "$BIN/sysinfo"
  start_init
  start_server
}

teardown() {
  [[ -z ${INIT:-} ]] || kill -KILL "$INIT"
  stop_server
}

start_init() { # sets INIT: it has no /run/systemd, and starts the agent whenever it ends
  UR_SYSINFO=$BIN/sysinfo UR_STATE_DIR=$BATS_TEST_TMPDIR/state unshare --mount --pid --fork --mount-proc --propagation private --kill-child sh -c '
    mount -t tmpfs none /run
    touch "$1/ready"
    while :; do
      "$1/ur-agent" run
      sleep 0.2
    done' - "$BIN" 3>&- >"$BATS_TEST_TMPDIR/agent.log" 2>&1 &
  until [[ -e $BIN/ready ]]; do kill -0 $!; done
  INIT=$(pgrep --parent $!)
  disown
  until "$BIN/ur" exec -n "$NODE" true >/dev/null 2>&1; do kill -0 "$INIT"; done
}

release() { # <version> <file that is to be ur-agent>: makes the tarball; sets SHA
  mkdir -p "$BATS_TEST_TMPDIR/build"
  cp "$2" "$BATS_TEST_TMPDIR/build/ur-agent"
  # What follows the program is of no concern to the kernel, but makes it another file.
  printf '%s' "$1" >>"$BATS_TEST_TMPDIR/build/ur-agent"
  tar --create --gzip --file="$WWW/ur-agent-$1.tgz" --directory="$BATS_TEST_TMPDIR/build" ur-agent
  SHA=$(sha256sum "$WWW/ur-agent-$1.tgz" | cut -d ' ' -f 1)
}

upgrade() { # <version>: by the agent itself; sets output to the result
  "$BIN/ur" exec -j -n "$NODE" "export PT__installdir=$SCRIPTS PT_folder=$BATS_TEST_TMPDIR/agents PT_name=ur-agent PT_version=$1 PT_sha256=$SHA
    export PT_command='ur-agent run' PT_health_timeout=15 PT_urls='[\"$URL/ur-agent-$1.tgz\"]'
    bash $SCRIPTS/agent/tasks/install.sh" >"$BATS_TEST_TMPDIR/replies" || true
  cat "$BATS_TEST_TMPDIR/replies"
  output=$(jq -r '.[0].result.stdout // .[0].stdout' "$BATS_TEST_TMPDIR/replies")
}

agent_ends_with() { # <text>: succeeds if the agent that runs is the file that ends with it
  local pid
  pid=$(pgrep --ns "$INIT" --nslist pid --oldest -x ur-agent)
  [[ $(tail -c ${#1} "/proc/$pid/exe") == "$1" ]]
}

@test 'the agent is upgraded by its own job, which is answered; so is one that ran meanwhile' {
  "$BIN/ur" exec -n "$NODE" 'sleep 8; echo still here' >"$BATS_TEST_TMPDIR/meanwhile" 2>&1 3>&- &
  meanwhile=$!
  release 9.9 "$BIN/ur-agent"
  upgrade 9.9
  answer '[.verdict, .way] | @csv' '"installed","respawn"'
  agent_ends_with 9.9
  wait "$meanwhile"
  grep -q 'still here' "$BATS_TEST_TMPDIR/meanwhile"
}

@test 'an agent that does not reach the broker gives way to the one before' {
  release 9.8 "$(command -v sleep)"
  upgrade 9.8
  answer ._error.kind agent/unhealthy
  jq -e '.running | startswith("before-")' <<<"$output"
  run ! agent_ends_with 9.8
  "$BIN/ur" exec -n "$NODE" 'echo alive'
}
