#!/usr/bin/env bats
# power::off and power::reboot, where they cannot do any harm: in a PID namespace of their own, of which alone reboot(2)
# is the end, without the capability to call it, with a /run in which no init listens, and with a made-up /proc in which
# sysrq-trigger is a file. poweroff and reboot are shims that write down that they were called.

bats_require_minimum_version 1.5.0
load machine
load world

setup() {
  ((EUID == 0)) || skip 'only root can make namespaces'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  make_world
}

teardown() { end_world; }

power() { # <off|reboot> [<parameter>=<value>…]: runs it in there
  local action=$1
  shift
  status=0
  output=$(in_world UR_JOB_DIR="${OF_OLD_AGENT:-$WORK}" UR_REQUEST=this PT__installdir="$SCRIPTS" "$@" \
    bash "$SCRIPTS/power/tasks/$action.sh" 2>"$LOG" </dev/null 3>&-) || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
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
  eventually grep -q 'replied' "$WORK/trace"
  [[ ! -e $WORLD/called ]]
  touch "$JOB/replied"
  called 'poweroff '
}

@test 'under an earlier agent, which kept all in one folder, the same' {
  OF_OLD_AGENT=$JOB
  mkdir "$WORLD/jobs/erase-7"
  touch "$WORLD/jobs/erase-7/pid"
  power off
  answer ._error.kind power/busy
  [[ $output == *': erase-7:'* ]]
  touch "$WORLD/jobs/erase-7/outcome.json"
  power off
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
  in_world UR_SYSINFO="$WORLD/bin/sysinfo" UR_STATE_DIR="$WORLD/state" "$built/ur-agent" run >"$LOG" 2>&1 3>&- </dev/null &
  eventually "$built/ur" exec -n "$node" true >/dev/null
  output=$("$built/ur" exec -j -n "$node" "PT__installdir=$SCRIPTS PT_grace=1 bash $SCRIPTS/power/tasks/reboot.sh")
  answer '.[0].result | [.exit_status, .reboot] | @csv' 0,true
  answer '.[0].result.stdout | fromjson.action' reboot
  called 'reboot -f'
  diff <(head -n 3 "$WORLD/called") - <<<$'reboot \nreboot \nreboot -f'
}
