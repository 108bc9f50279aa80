# shellcheck shell=bash
# A machine for the tests of disk tasks, made of loop devices: real block devices in a mount namespace in which every
# other block device of this host is covered by /dev/null. Whatever a task does wrong, it cannot reach them.

setup_machine() { # call it from setup
  ((EUID == 0)) || skip 'only root can make loop devices'
  losetup --find >/dev/null 2>&1 || skip 'this kernel has no loop devices to give'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  DISKS=()
  # bats waits for whoever holds its descriptor 3.
  unshare --mount --propagation private sleep infinity 3>&- &
  MACHINE=$!
  until [[ $(readlink "/proc/$MACHINE/ns/mnt") != "$(readlink /proc/self/ns/mnt)" && $(<"/proc/$MACHINE/comm") == sleep ]]; do
    kill -0 "$MACHINE"
  done
}

teardown_machine() { # call it from teardown
  local disk
  # With the last process of the namespace go its mounts.
  [[ -z ${MACHINE:-} ]] || {
    kill "$MACHINE"
    wait "$MACHINE" || true
  } 2>/dev/null
  for disk in "${DISKS[@]}"; do
    partx --delete "$disk" 2>/dev/null || true
    losetup --detach "$disk"
  done
}

add_disk() { # [<size> [<sector size>]]: sets DISK to a new empty disk of 64 MiB, and adds it to DISKS
  local file
  file=$BATS_TEST_TMPDIR/disk${#DISKS[@]}
  truncate --size "${1:-64M}" "$file"
  DISK=$(losetup --find --show --sector-size "${2:-512}" "$file")
  DISKS+=("$DISK")
}

serial_of() { # <disk>: prints what the tasks take for the serial number of a loop device
  cat "/sys/block/${1##*/}/loop/backing_file"
}

on_machine() { # <program> [<argument>…]: runs it there
  nsenter --target "$MACHINE" --mount -- "$@" 3>&-
}

cover_other_disks() { # covers all block devices that are not of this machine
  local device disk covers=()
  for device in /sys/class/block/*; do
    device=/dev/${device##*/}
    disk=$(sed -E 's/([0-9])p[0-9]+$/\1/' <<<"$device")
    [[ $(printf ' %s ' "${DISKS[@]}") == *" $disk "* || ! -b $device ]] || covers+=("$device")
  done
  # shellcheck disable=SC2016 # for the shell in there
  on_machine bash -c 'for device; do mountpoint -q "$device" || mount --bind /dev/null "$device"; done' - "${covers[@]}"
}

task() { # <module::task> [<parameter>=<value>…]: runs it as Bolt does; sets status, and output to its result
  local script=$SCRIPTS/${1%%::*}/tasks/${1##*::}.sh
  shift
  cover_other_disks
  status=0
  # shellcheck disable=SC2034 # the test looks at it
  output=$(on_machine env PATH="${SHIMS:+$SHIMS:}$PATH" PT__installdir="$SCRIPTS" "${@/#/PT_}" "$BASH" "$script" 2>"$LOG" </dev/null) || status=$?
  # bats shows it when the test fails.
  cat "$LOG"
  printf '%s\n' "$output"
}

answer() { # <jq filter> <expected>: compares a part of the result
  diff <(printf '%s\n' "$2") <(jq -r "$1" <<<"$output")
}
