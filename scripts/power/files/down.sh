# shellcheck shell=bash
# Going down, for a reboot or for good: reasons not to, flushing data to the disks, and the process that stays behind to see
# to it that the machine really goes down. Needs the library's ur.sh and job.sh.

readonly sysrq=/proc/sysrq-trigger

other_jobs() { # prints the ids of Ur's jobs that run beside this one
  local job
  find_job || return 0
  for job in "${job_state%/*}"/*/; do
    job=${job%/}
    if [[ $job != "$job_state" && -e $job/pid && ! -e $job/outcome.json ]]; then printf '%s\n' "${job##*/}"; fi
  done
}

unflushed=

guard_idle() { # sets running; fails if this would cut short jobs that the operator has not agreed to lose
  running=$(other_jobs | paste -sd ' ')
  [[ -z $running || ${PT_force:-false} == true ]] \
    || fail power/busy "other jobs run on this node: $running: wait for them, cancel them, or give force=true"
}

flush() { # sets unflushed; fails if what was written may not have reached the disks
  local disk syncer disks=()
  unflushed=
  # A dead disk holds sync for ever, whatever signal it is sent, and would hold up the task: it is left to itself.
  sync </dev/null >/dev/null 2>&1 {ur_result}>&- &
  syncer=$!
  if ! wait_until 60 has_ended "$syncer" || ! wait "$syncer"; then
    [[ ${PT_force:-false} == true ]] \
      || fail power/not-flushed 'sync failed or did not end within 60 seconds: look at the log of the kernel, or give force=true'
    unflushed='file systems '
  fi
  # What lies in a drive's own cache is written when the device itself is synced. Not every disk can be opened: a BMC's
  # has no medium most of the time. That must not keep a node up.
  for disk in /sys/block/*; do
    [[ -e $disk/device && -b /dev/${disk##*/} ]] || continue
    sync "/dev/${disk##*/}" </dev/null >/dev/null 2>&1 {ur_result}>&- &
    disks+=("/dev/${disk##*/} $!")
  done
  for disk in "${disks[@]}"; do
    syncer=${disk#* }
    { wait_until 20 has_ended "$syncer" && wait "$syncer"; } || unflushed+="${disk% *} "
  done
}

flush_and_stay_behind() { # <function>: by force, whatever becomes of the flushing, it goes down
  if [[ ${PT_force:-false} == true ]]; then
    stay_behind "$1"
    flush
  else
    flush
    stay_behind "$1"
  fi
}

stay_behind() { # <function>: runs it in a process that outlives the task
  # With a descriptor of the task it would hold up a reply that waits for the end of the output.
  (
    # Not SIGTERM: a system that is shutting down sends it to all, and waits for those that do not heed it.
    trap '' HUP
    set +e
    cd /
    "$1"
  ) </dev/null >/dev/null 2>&1 {ur_result}>&- &
}

reply_is_out() { # succeeds if this job's reply has reached the broker; waits for it
  find_job || return 1
  wait_until 300 [ -e "$job_state/replied" ]
}

go_down() { # <reboot|poweroff> <letter of sysrq>
  local letter
  log_to_console "$1: ${PT_reason:-no reason given}"
  # An init that takes the order gets time to stop what runs; one that is hung or not there does not.
  "$1" && sleep "${PT_grace:-120}"
  "$1" -f && sleep 10
  # Write what can be written, make the disks read-only, go.
  for letter in s u "$2"; do
    printf '%s' "$letter" >"$sysrq"
    sleep 1
  done
}

log_to_console() { # <text>: the console of a machine that goes down says why
  printf 'ur: %s\n' "$1" >/dev/kmsg
}
