#!/usr/bin/env bats
# Machines whose own clock is years off: what sets it, and what becomes of a job that runs meanwhile.

load vm

setup_file() {
  load_ramdisk minimal
  # The first asks a server from the start, but that is there only when the test says so.
  ARGUMENTS='ntp=10.0.2.2' boot 1 -rtc base=2010-01-01
  boot 2 -rtc base=2010-01-01
}

teardown() {
  [[ -z ${job-} ]] || kill "$job" 2>/dev/null || true
  tell_consoles
}

teardown_file() {
  power_off_all
  [[ ! -e $BATS_FILE_TMPDIR/ntp ]] || kill "$(<"$BATS_FILE_TMPDIR/ntp")"
}

seconds_off() { # <machine>: prints by how much its clock is behind this host's
  local there
  there=$(ur exec -n "$(uuid_of "$1")" -J 'date +%s' | jq -er .result.stdout) || return
  printf '%d' $(($(date +%s) - there))
}

is_right() { # <machine>
  local seconds
  seconds=$(seconds_off "$1") && ((${seconds#-} < 10))
}

serve_time() {
  "$BATS_TEST_DIRNAME/ntp-server.py" 127.0.0.1 123 &>"$BATS_FILE_TMPDIR/ntp.log" 3>&- &
  printf '%s\n' "$!" >"$BATS_FILE_TMPDIR/ntp"
}

@test 'without a time server the clock is at least as late as the ramdisk is old' {
  local built
  await 120 are_there 2
  built=$(stat -c %Y "$RAMDISK/initramfs")
  (($(seconds_off 2) < $(date +%s) - $(date -d 2011-01-01 +%s)))
}

@test 'a job that runs while the clock is set forward by years is neither cut off nor forgotten' {
  ur exec -n "$(uuid_of 1)" 'date -us 2012-01-01'
  # shellcheck disable=SC2314 # it fails, as it is to
  run is_right 1
  ((status != 0))
  ur exec -n "$(uuid_of 1)" -J --timeout 120 'date +%s; until [ -e /run/go ]; do sleep 1; done; date +%s' >"$BATS_TEST_TMPDIR/job" 3>&- &
  job=$!
  serve_time
  await 180 is_right 1
  ur exec -n "$(uuid_of 1)" ': >/run/go'
  wait "$job"
  jq -e '.result | .exit_status == 0 and (.stdout | split("\n") | map(select(. != "") | tonumber) | .[1] - .[0] > 86400)' "$BATS_TEST_TMPDIR/job"
}

@test 'in time the kernel knows that its clock is right, and the machine keeps the time when it is off' {
  is_synchronized() { ur exec -n "$(uuid_of 1)" 'adjtimex' | grep -q 'return value: *0'; }
  await 300 is_synchronized
  on_the_battery() { ur exec -n "$(uuid_of 1)" 'hwclock -ur' | grep -q "$(date -u +%Y)"; }
  await 60 on_the_battery
}
