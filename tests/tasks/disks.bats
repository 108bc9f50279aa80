#!/usr/bin/env bats
# disks.sh and inuse.sh on real block devices: which they are, and what uses them.

# shellcheck disable=SC2016 # programs for the shell on the machine

bats_require_minimum_version 1.5.0
load machine

setup() {
  setup_machine
  add_disk
}

teardown() {
  [[ -z ${elsewhere:-} ]] || kill "$elsewhere"
  teardown_machine
}

library() { # <text>: runs it on the machine, with $DISK as the kernel's name; sets output to what it logs
  cover_other_disks
  output=$(on_machine bash -c '
    set -euo pipefail
    for file in ur disks inuse; do source "$1/ur/files/$file.sh"; done
    DISK=$2
    eval "$3"
    result "{}"' task "$SCRIPTS" "${DISK#/dev/}" "$1" 2>&1 >/dev/null </dev/null)
  printf '%s\n' "$output"
}

partition() { # <sgdisk's arguments>: partitions DISK
  sgdisk "$@" "$DISK" >/dev/null
  partx --update "$DISK"
}

@test 'a loop device with a file is a disk, and the file is its identity' {
  library 'list_disks | grep -x "$DISK"; disk_facts "$DISK" | jq -r "[.name,.serial,.class,.bytes,.sector] | @tsv"'
  [[ $output == *$DISK$'\t'"$BATS_TEST_TMPDIR/disk0"$'\tloop\t67108864\t512' ]]
}

@test 'optical drives, ram disks and loop devices without a file are no disks' {
  library 'list_disks'
  run ! grep -E '^(sr|ram|zram|fd|dm-|md)' <<<"$output"
  [[ $(wc -l <<<"$output") -lt $(find /sys/block -mindepth 1 | wc -l) ]]
}

@test 'a disk that nothing uses has no uses' {
  mkfs.ext4 -q "$DISK"
  library 'uses_of "$DISK"'
  [[ -z $output ]]
}

@test 'a mounted partition is a use of its disk' {
  partition --new=1:0:+20M --new=2:0:0
  mkfs.ext4 -q "${DISK}p2"
  on_machine mount "${DISK}p2" /mnt
  library 'device_uses "$DISK"; uses_of "$DISK"'
  [[ $output == "${DISK}p2 is "* && $(wc -l <<<"$output") == 1 ]]
}

@test 'a mount in another mount namespace is a use, by the answer of the kernel' {
  mkfs.ext4 -q -L secret "$DISK"
  unshare --mount --propagation private sh -c "mount $DISK /mnt; exec sleep infinity" 3>&- &
  elsewhere=$!
  until grep -q "^$DISK " "/proc/$elsewhere/mounts"; do kill -0 "$elsewhere"; done
  library 'uses_of "$DISK"'
  [[ $output == *'held open'*'ext4 secret'* ]]
}

@test 'swap is a use' {
  mkswap "$DISK" >/dev/null
  swapon "$DISK"
  library 'uses_of "$DISK"'
  swapoff "$DISK"
  [[ $output == "$DISK is swap" ]]
}

@test 'partitions are listed after their disk' {
  partition --new=1:0:+20M --new=2:0:0
  library 'devices_of "$DISK"'
  [[ $output == "${DISK#/dev/}"$'\n'"${DISK#/dev/}p1"$'\n'"${DISK#/dev/}p2" ]]
}

chosen() { # <text that runs after the disks are chosen>: of two paths, and a third drive with the same bogus WWN
  bash -euo pipefail -c '
    source "$1/ur/files/ur.sh"
    source "$1/ur/files/disks.sh"
    source "$1/ur/files/inuse.sh"
    source "$1/disk/files/guards.sh"
    list_disks() { printf "%s\n" sda sdb sdc; }
    read_disk() {
      local fact serial=S1
      [[ $1 != sdc ]] || serial=S2
      for fact in name=/dev/$1 class=scsi tran=sas wwn=5000 serial=$serial bytes=1 removable=false read_only=false; do
        disk_fact["$1 ${fact%%=*}"]=${fact#*=}
      done
      facts[$1]="{\"name\":\"/dev/$1\",\"links\":[]}"
    }
    uses_of() { [[ $1 != sdb ]] || printf "sdb is mounted"; }
    eval "$2"' - "$SCRIPTS" "$1" 2>/dev/null
}

@test 'a disk behind two paths is one disk, and one that only has its WWN is another' {
  output=$(chosen 'choose_disks "[]" "[]"; result "$(printf "%s " "${targets[@]}")"')
  [[ $output == 'sda sdc ' ]]
}

@test 'drives that can have one path only are as many as they are, whatever they are called' {
  output=$(chosen 'eval "$(declare -f read_disk | sed "s/tran=sas/tran=sata/;s/read_disk/read_sas/")"; read_disk() { read_sas "$@"; }
    choose_disks "[]" "[]"; result "${targets[*]}"')
  [[ $output == 'sda sdb sdc' ]]
}

@test 'two drives with one serial number are confirmed by naming it twice' {
  output=$(chosen 'targets=(sda sdb); read_disk sda; read_disk sdb; guard_confirmed "[\"S1\"]"; result "${!refused[*]} ${refused[*]}"')
  [[ $output == 'sdb another disk to change has the same serial number, S1: confirm_serials must name it once for each' ]]
  output=$(chosen 'targets=(sda sdb); read_disk sda; read_disk sdb; guard_confirmed "[\"S1\",\"S1\"]"; result "${!refused[*]}"')
  [[ -z $output ]]
}

@test 'what is no drive is no target unless select names it, and is told' {
  output=$(chosen 'list_disks() { printf "%s\n" sda mtdblock0 nbd0 zram0 ubiblock0_0; }
    eval "$(declare -f read_disk | sed "s/class=scsi/class=\$(disk_class \$1)/;s/read_disk/read_any/;s/wwn=5000/wwn=/")"; read_disk() { read_any "$@"; }
    disk_class() { [[ $1 != sd* ]] && printf other || printf scsi; }
    choose_disks "[]" "[]"; result "${targets[*]} ${#untouched[@]}"')
  [[ $output == 'sda 4' ]]
}

@test 'what uses a disk by its second path, or skips it, counts for the first' {
  output=$(chosen 'choose_disks "[]" "[]"; guard_unused; result "${!refused[*]} ${refused[sda]}"')
  [[ $output == 'sda sdb is mounted' ]]
  output=$(chosen "choose_disks '[]' '[{\"name\":\"sdb\"}]'; result \"\${targets[*]}\"")
  [[ $output == sdc ]]
}
