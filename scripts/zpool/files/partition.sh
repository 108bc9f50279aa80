# shellcheck shell=bash
# The path by which ZFS gets a disk, and the partition that it may need. A whole disk is partitioned by zpool itself, which then waits until udev has seen the
# partitions, and gives up where there is no udev, as in a ramdisk: there the disk gets a partition beforehand.
# Needs the library's ur.sh and disk/files/guards.sh.

has_udev() {
  [[ -e /run/udev/control ]]
}

path_for_zfs() { # <disk>: prints a name that stays the same over reboots, if it has one
  if has_udev; then
    if [[ ${disk_fact["$1 links"]} =~ /dev/disk/by-id/[^$'\n']+ ]]; then printf '%s\n' "${BASH_REMATCH[0]}"; else printf '/dev/%s\n' "$1"; fi
  elif [[ $1 == *[0-9] ]]; then
    printf '/dev/%sp1\n' "$1"
  else
    printf '/dev/%s1\n' "$1"
  fi
}

partition_disk() { # <disk>: one partition, in the place of all that was there
  local partition
  partition=$(path_for_zfs "$1")
  # sfdisk looks before it writes whether a program uses the disk.
  sfdisk --quiet --wipe always --wipe-partitions always --no-tell-kernel "/dev/$1" \
    <<<$'label: gpt\nname=zfs, type=6a898cc3-1dd2-11b2-99a6-080020736631'
  reread_table "$1"
  wait_until 15 test -b "$partition" || fail zpool/failed "/dev/$1: the kernel shows no partition $partition"
  wipefs --all --quiet "$partition"
}
