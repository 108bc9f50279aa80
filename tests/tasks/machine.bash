# shellcheck shell=bash
# A machine for the tests of disk tasks, made of loop devices: real block devices in a mount namespace in which every
# other block device of this host is covered by /dev/null. Whatever a task does wrong, it cannot reach them.
# Any number of machines stand side by side: /sys/block of each lists its own disks alone, so that no task comes upon a
# disk that another test has just made.

load jq-count

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
  on_machine mount -t tmpfs none /sys/block
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

add_disk() { # [<size> [<sector size> [<directory for its file>]]]: sets DISK to a new empty disk of 64 MiB, and adds it to DISKS
  local file
  file=${3:-$BATS_TEST_TMPDIR}/disk${#DISKS[@]}
  truncate --size "${1:-64M}" "$file"
  DISK=$(losetup --find --show --sector-size "${2:-512}" "$file")
  # It says of itself what the disk below says, and that differs between machines.
  echo 0 >"/sys/block/${DISK##*/}/queue/rotational"
  DISKS+=("$DISK")
  on_machine test -e "/sys/block/${DISK##*/}" || on_machine ln -s "$(readlink -f "/sys/block/${DISK##*/}")" /sys/block
}

ambivalent() { # <disk with ext4>: adds the boot sector of a FAT, so that nobody can say which of the two it is
  local fat=$BATS_TEST_TMPDIR/fat
  truncate --size 64M "$fat"
  mkfs.vfat "$fat" >/dev/null
  dd if="$fat" of="$1" bs=512 count=1 conv=notrunc,fsync status=none
}

serial_of() { # <disk>: prints what the tasks take for the serial number of a loop device
  cat "/sys/block/${1##*/}/loop/backing_file"
}

on_machine() { # <program> [<argument>…]: runs it there
  nsenter --target "$MACHINE" --mount -- "$@" 3>&-
}

cover_other_disks() { # covers all block devices that are not of this machine
  local device covers=()
  for device in /sys/class/block/*; do
    is_of_machine "${device##*/}" || [[ ! -b /dev/${device##*/} ]] || covers+=("/dev/${device##*/}")
  done
  # One that is covered already is no block device any more. One of another test may go at any moment.
  # shellcheck disable=SC2016 # for the shell in there
  on_machine bash -c 'for device; do [[ ! -b $device ]] || mount --bind /dev/null "$device" || [[ ! -b $device ]]; done' - "${covers[@]}"
}

is_of_machine() { # <device>: succeeds if it is one of DISKS, a partition of one, or lies on nothing else
  local disk slave
  disk=$(sed -E 's/([0-9])p[0-9]+$/\1/' <<<"$1")
  [[ $(printf ' %s ' "${DISKS[@]}") != *" /dev/$disk "* ]] || return 0
  compgen -G "/sys/class/block/$1/slaves/*" >/dev/null || return 1
  for slave in "/sys/class/block/$1/slaves"/*; do is_of_machine "${slave##*/}" || return 1; done
}

task() { # <module::task> [<parameter>=<value>…]: runs it as Bolt does; sets status, and output to its result
  local script=$SCRIPTS/${1%%::*}/tasks/${1##*::}.sh
  shift
  [[ -n ${DRIVES:-} ]] || cover_other_disks
  status=0
  output=$(on_machine env PATH="${SHIMS:+$SHIMS:}$PATH" PT__installdir="$SCRIPTS" "${@/#/PT_}" "$BASH" "$script" 2>"$LOG" <"${STDIN:-/dev/null}") || status=$?
  # bats shows it when the test fails.
  cat "$LOG"
  printf '%s\n' "$output"
}

answer() { # <jq filter> <expected>: compares a part of the result
  diff <(printf '%s\n' "$2") <(jq -r "$1" <<<"$output")
}

eventually() { # <command>…: polls until it succeeds, for 30 seconds
  local deadline=$((SECONDS + 30))
  until "$@" 2>/dev/null; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# What a loop device cannot show, the firmware of drives, is played by shims: programs in the place of nvme, hdparm and
# sg3-utils that keep the state of a drive in $DRIVE and do to the loop device what the drive would do to its medium.

pretend() { # <class> <disk>…: makes these the drives of that class, and the only block devices, of the machine
  local class=$1 shim
  shift
  export DRIVE=$BATS_TEST_TMPDIR/drive
  SHIMS=$BATS_TEST_TMPDIR/shims
  mkdir "$SHIMS" "$DRIVE"
  for shim in nvme hdparm sg_opcodes sg_sanitize dd; do
    ln -s "$BATS_TEST_DIRNAME/shims/${shim%%_*}-shim" "$SHIMS/$shim"
  done
  # shellcheck disable=SC2016 # for the shell in there
  on_machine bash -euc '
    mount -t tmpfs none /sys/block
    mount -t tmpfs none /sys/class/block
    mount -t tmpfs -o dev none /dev
    for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do mknod -m 666 "/dev/${node% *}" c 1 "${node#* }"; done
    ln -s /proc/self/fd /dev/fd
  '
  DRIVES=()
  while (($#)); do
    drive "$class" "$((${#DRIVES[@]} + 1))" "$1"
    shift
  done
}

drive() { # <class> <number> <loop device>
  local name hardware=$DRIVE/pci0000:00 loop
  loop=$(readlink -f "/sys/block/${3##*/}")
  case $1 in
    nvme) name=nvme0n$2 hardware+=/nvme0 ;;
    ata) name=sda hardware+=/ata1/0:0:0:0 ;;
    scsi) name=sda hardware+=/end_device-0/0:0:0:0 ;;
  esac
  mkdir -p "$hardware"
  case $1 in
    nvme) printf 'NV0001\n' >"$hardware/serial" ;;
    ata) printf 'ATA\n' >"$hardware/vendor" ;;
    scsi) printf 'SEAGATE\n' >"$hardware/vendor" ;;
  esac
  [[ $1 == nvme ]] || printf '\0\x80\0\x08  SD0001' >"$hardware/vpd_pg80"
  show_drive "$name" "$loop" "$hardware"
}

show_drive() { # <name> <the loop device's directory in sysfs> <its hardware's>: adds the drive to DRIVES
  DRIVES+=("/dev/$1")
  # shellcheck disable=SC2016 # for the shell in there
  on_machine bash -euc '
    mkdir "/sys/class/block/$1"
    ln -s "$2"/* "/sys/class/block/$1"
    ln -s "$3" "/sys/class/block/$1/device"
    rm -f "/sys/class/block/$1/loop"
    ln -s "/sys/class/block/$1" "/sys/block/$1"
    mknod "/dev/$1" b 7 "$4"
  ' - "$1" "$2" "$3" "${2##*/loop}"
}
