#!/usr/bin/env bats
# power::off and power::reboot, where they cannot do any harm: in a PID namespace of their own, of which alone reboot(2)
# is the end, without the capability to call it, with a /run in which no init listens, and with a made-up /proc in which
# sysrq-trigger is a file. poweroff and reboot are shims that write down that they were called.

# shellcheck disable=SC2016 # programs for other shells

bats_require_minimum_version 1.5.0
load machine

setup() {
  ((EUID == 0)) || skip 'only root can make namespaces'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  WORLD=$BATS_TEST_TMPDIR/world
  JOB=$WORLD/jobs/this
  mkdir -p "$JOB" "$WORLD/bin"
  touch "$JOB/pid"
  shim poweroff 0
  shim reboot 0
  make_world
}

teardown() {
  # All that was left behind in the PID namespace ends with its first process.
  kill -KILL "$INIT"
}

make_world() { # sets INIT to the pid of the first process of a PID namespace that has nothing to do with this machine's init
  local parent
  unshare --mount --pid --fork --propagation private --kill-child bash -c '
    set -eu
    mount -t tmpfs none /run
    mount -t tmpfs none /proc
    mkdir /proc/real
    mount -t proc none /proc/real
    # Symbolic links to the real things, but for the trigger; to those of processes that are yet to come, too.
    cd /proc/real
    things=([a-z]*)
    ln -s -t /proc "${things[@]/#/real/}" real/{1..5000}
    rm -f /proc/sysrq-trigger
    touch "$1/sysrq" "$1/console" /proc/sysrq-trigger
    mount --bind "$1/sysrq" /proc/sysrq-trigger
    [[ ! -e /dev/kmsg ]] || mount --bind "$1/console" /dev/kmsg
    touch "$1/ready"
    exec sleep infinity' - "$WORLD" 3>&- >"$LOG" 2>&1 &
  parent=$!
  disown
  until [[ -e $WORLD/ready ]]; do kill -0 "$parent"; done
  INIT=$(pgrep --parent "$parent")
}

shim() { # <program> <exit status>
  printf '#!/bin/sh\necho "${0##*/} $*" >>%s\nexit %d\n' "$WORLD/called" "$2" >"$WORLD/bin/$1"
  chmod +x "$WORLD/bin/$1"
}

power() { # <off|reboot> [<parameter>=<value>…]: runs it in there
  local action=$1
  shift
  status=0
  output=$(nsenter --target "$INIT" --mount --pid -- setpriv --bounding-set=-sys_boot,-syslog --inh-caps=-sys_boot,-syslog \
    env PATH="$WORLD/bin:$PATH" UR_JOB_DIR="$JOB" PT__installdir="$SCRIPTS" "$@" \
    bash "$SCRIPTS/power/tasks/$action.sh" 2>"$LOG" </dev/null 3>&-) || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
}

called() { # <text>: succeeds when a shim has been called so
  eventually grep -qx "$1" "$WORLD/called"
}

eventually() { # <command>…: polls until it succeeds, for 20 seconds
  local deadline=$((SECONDS + 20))
  until "$@" 2>/dev/null; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

left_behind() { # prints how many processes the tasks have left
  pgrep --ns "$INIT" --nslist pid --count bash || true
}

sysrq_is() { # <the last letter that was written>
  [[ $(<"$WORLD/sysrq") == "$1" ]]
}

@test 'the world of these tests cannot reach the machine' {
  run nsenter --target "$INIT" --mount --pid -- setpriv --bounding-set=-sys_boot --inh-caps=-sys_boot sh -c 'grep CapEff /proc/self/status; ls -d /run/systemd /run/initctl /run/dbus 2>/dev/null; echo x >/proc/sysrq-trigger; readlink /proc/self/ns/pid'
  printf '%s\n' "${lines[@]}"
  # Bit 22 is CAP_SYS_BOOT.
  (((16#${lines[0]##*[[:space:]]} >> 22 & 1) == 0))
  # In this /run no init listens; and the PID namespace is not the machine's.
  [[ ${#lines[@]} == 2 && ${lines[1]} != $(readlink /proc/self/ns/pid) ]]
  sysrq_is x
}

@test 'off answers first, and switches off when the reply is out, not before' {
  power off PT_reason='rack moves'
  ((status == 0))
  answer .action off
  answer .reason 'rack moves'
  # The process that stays behind polls for the reply.
  eventually grep -q 'replied' "$JOB/trace"
  [[ ! -e $WORLD/called ]]
  touch "$JOB/replied"
  called 'poweroff '
}

@test 'reboot exits with the status that asks the agent for it' {
  power reboot
  ((status == 113))
  answer .action reboot
  [[ ! -e $WORLD/called ]]
}

@test 'a reboot that the agent started and that hangs is forced' {
  power reboot PT_grace=1
  touch "$JOB/rebooting"
  called 'reboot -f'
}

@test 'an init that refuses is not asked twice, and sysrq is the last resort' {
  shim poweroff 1
  touch "$JOB/replied"
  power off
  eventually sysrq_is o
  diff "$WORLD/called" - <<<$'poweroff \npoweroff -f'
}

@test 'an init that says yes and does nothing is forced when the grace is over' {
  touch "$JOB/replied"
  power off PT_grace=1
  called 'poweroff -f'
}

@test 'nothing goes down while other jobs run, unless forced' {
  mkdir "$WORLD/jobs/erase-7" "$WORLD/jobs/done-8"
  touch "$WORLD/jobs/erase-7/pid" "$WORLD/jobs/done-8/pid" "$WORLD/jobs/done-8/outcome.json" "$JOB/replied"
  power off
  ((status == 1))
  answer ._error.kind power/busy
  [[ $output == *erase-7* && $output != *done-8* ]]
  power reboot
  ((status == 1))
  power off PT_force=true
  answer .cut_short erase-7
  called 'poweroff '
}

@test 'a node whose data do not reach the disk stays up, unless forced' {
  shim sync 1
  touch "$JOB/replied"
  power off
  ((status == 1))
  answer ._error.kind power/not-flushed
  run ! grep -q poweroff "$WORLD/called"
  power off PT_force=true
  ((status == 0))
  called 'poweroff '
}

@test 'with --noop nothing is flushed, left behind or taken down' {
  shim sync 0
  touch "$JOB/replied"
  power reboot PT__noop=true
  ((status == 0))
  answer .noop true
  power off PT__noop=true
  ((status == 0))
  [[ $(left_behind) == 0 && ! -e $WORLD/called ]]
}

@test 'what stays behind holds no descriptor of the task, so that no reply waits for it' {
  power off
  # That this line is reached shows it: the output above was read to its end, and the process is still there.
  [[ $(left_behind) == 1 ]]
}

@test 'through the agent: the reply is out first, then the agent reboots, and if that hangs it is forced' {
  local built node
  [[ -n ${UR_AMQP_URL:-} ]] || skip 'there is no broker: run it by tools/with-broker --private'
  for built in "${UR_BIN_DIR:-}" "$BATS_TEST_DIRNAME"/../../target/*/release; do [[ ! -x $built/ur-agent || ! -x $built/ur ]] || break; done
  [[ -x $built/ur-agent ]] || skip 'ur-agent has not been built: make build'
  node=$(uuidgen)
  printf '#!/bin/sh\necho \x27{"UUID":"%s","Hostname":"rebooted"}\x27\n' "$node" >"$WORLD/bin/sysinfo"
  chmod +x "$WORLD/bin/sysinfo"
  # The agent's own command for it is reboot too: the shim that says yes and does nothing.
  nsenter --target "$INIT" --mount --pid -- setpriv --bounding-set=-sys_boot,-syslog --inh-caps=-sys_boot,-syslog \
    env PATH="$WORLD/bin:$PATH" UR_SYSINFO="$WORLD/bin/sysinfo" UR_STATE_DIR="$WORLD/state" "$built/ur-agent" run >"$LOG" 2>&1 3>&- </dev/null &
  eventually "$built/ur" exec -n "$node" true >/dev/null
  output=$("$built/ur" exec -j -n "$node" "PT__installdir=$SCRIPTS PT_grace=1 bash $SCRIPTS/power/tasks/reboot.sh")
  answer '.[0].result | [.exit_status, .reboot] | @csv' 0,true
  answer '.[0].result.stdout | fromjson.action' reboot
  called 'reboot -f'
  diff <(head -n 3 "$WORLD/called") - <<<$'reboot \nreboot \nreboot -f'
}
