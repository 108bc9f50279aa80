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

@test 'what uses a disk by its second path, or skips it, counts for the first' {
  output=$(chosen 'choose_disks "[]" "[]"; guard_unused; result "${!refused[*]} ${refused[sda]}"')
  [[ $output == 'sda sdb is mounted' ]]
  output=$(chosen "choose_disks '[]' '[{\"name\":\"sdb\"}]'; result \"\${targets[*]}\"")
  [[ $output == sdc ]]
}
