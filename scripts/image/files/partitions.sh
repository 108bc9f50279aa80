# shellcheck shell=bash
# The partition table of $disk as the disk has it: a kernel may have looked at an older one. It writes nothing. Needs the
# library's ur.sh, and guards.sh of the module disk.

# Sizes in it are sectors, as sfdisk counts them; `last` is the last sector that a partition can have, which in a GPT is
# not where the table says while its second half still lies where the image ended.
readonly table_filter='.partitiontable | (.sectorsize // 512) as $sector | ($bytes / $sector) as $sectors
  | {label: .label, id: (.id // "" | ascii_downcase), sector: $sector, first: (.firstlba // (1048576 / $sector)),
     last: (if .label == "gpt" then $sectors - 2 - ([16384 / $sector, 1] | max) else [$sectors, 4294967296] | min - 1 end),
     partitions: [.partitions[]? | {number: (.node | capture("(?<n>[0-9]+)$").n | tonumber), node, start, size,
       type: (.type | ascii_downcase), uuid: (.uuid // "" | ascii_downcase), name: (.name // "")}]}'

read_table() { # sets table, the disk's partitions as one JSON object; fails if it has none that we know
  table=$(sfdisk --json "/dev/$disk" 2>/dev/null) || return 1
  table=$(jq -c --argjson bytes "$(fact "$disk" bytes)" "$table_filter" <<<"$table") \
    || fail image/failed "the partition table of /dev/$disk cannot be understood: the log tells more"
  [[ $(jq -r .label <<<"$table") == @(gpt|dos) ]]
}

partitions() { # <jq filter on one of them>: prints what it says of each, one a line
  jq -r ".sector as \$sector | .partitions[] | $1" <<<"$table"
}

content_at() { # <tag> <offset> <size>: prints that tag of what blkid finds there on the disk, or nothing
  blkid --probe --offset "$2" --size "$3" --match-tag "$1" --output value "/dev/$disk" || true
}

see_partition() { # <device>: waits until the kernel shows it
  partx --update "/dev/$disk" 2>/dev/null || true
  ! command -v udevadm >/dev/null || udevadm settle --timeout=15 || true
  wait_until 15 test -b "$1" || fail image/failed "the table of /dev/$disk has $1, but the kernel does not show it"
}
