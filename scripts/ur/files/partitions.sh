# shellcheck shell=bash
# The kernel's view of a disk's partitions, made the same as the table on the disk. Partitions are told by their numbers,
# which need not begin at 1 nor follow each other: 1, 14 and 15 are usual. Needs the library's ur.sh and disks.sh.

update_partitions() { # <disk>: the kernel, and udev if there is one, get to know the partitions of the table
  reread_table "$1" || true
  ! command -v udevadm >/dev/null || udevadm settle --timeout=15 || true
}

list_partitions() { # <disk>: prints number, start in units of 512 bytes, bytes, type and UUID of each partition of the table; fields are separated by one blank, and may be empty
  partx --raw --noheadings --bytes --output NR,START,SIZE,TYPE,UUID "/dev/$1" 2>/dev/null || true
}

partition_name() { # <disk> <number>: prints the kernel's name of the partition
  if [[ $1 == *[0-9] ]]; then printf '%sp%d' "$1" "$2"; else printf '%s%d' "$1" "$2"; fi
}

missing_partitions() { # <disk>: prints the names of those partitions of the table that the kernel has not, or has with another size
  local line number bytes type name
  while read -r line; do
    IFS=$'\x1f' read -r number _ bytes type _ <<<"${line// /$'\x1f'}"
    name=$(partition_name "$1" "$number")
    # Of an extended partition, which only holds others, the kernel shows no more than its first sectors.
    [[ -b /dev/$name && ($type == @(0x5|0xf|0x85) || $(($(attribute "$name" size) * 512)) == "$bytes") ]] || printf '%s\n' "$name"
  done < <(list_partitions "$1")
}

has_all_partitions() { # <disk>
  [[ -z $(missing_partitions "$1") ]]
}
