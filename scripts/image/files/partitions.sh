# shellcheck shell=bash
# The partition table of $disk as it stands on the disk: a kernel may have looked at an older one. It writes nothing. Needs
# the library's ur.sh, and guards.sh of the module disk.

# Sizes are sectors, as sfdisk counts them; `last` is the last sector that a partition can have, which in a GPT is not where
# the table says while its second half still lies where the image ended.
readonly table_filter='.partitiontable | (.sectorsize // 512) as $sector | ($bytes / $sector | floor) as $sectors
  | .label, (.id // "" | ascii_downcase), $sector, (.firstlba // (1048576 / $sector | floor)),
    (if .label == "gpt" then $sectors - 2 - ([16384 / $sector, 1] | max | floor) else [$sectors, 4294967296] | min - 1 end),
    (.partitions[]? | (.node | capture("(?<n>[0-9]+)$").n), .node, .start, .size, (.type | ascii_downcase), (.uuid // "" | ascii_downcase))'

read_table() { # sets table_label, table_id, table_sector, table_first, table_last, and by number part_node, part_start, part_size, part_type and part_uuid; fails if the disk has no table that is known here
  local json fields at
  json=$(sfdisk --json "/dev/$disk" 2>/dev/null) || return 1
  json=$(jq -r --argjson bytes "$(fact "$disk" bytes)" "$table_filter" <<<"$json") \
    || fail image/failed "the partition table of /dev/$disk cannot be understood: the log tells more"
  mapfile -t fields <<<"$json"
  table_label=${fields[0]} table_id=${fields[1]} table_sector=${fields[2]} table_first=${fields[3]} table_last=${fields[4]}
  part_node=() part_start=() part_size=() part_type=() part_uuid=()
  for ((at = 5; at < ${#fields[@]}; at += 6)); do
    part_node[fields[at]]=${fields[at + 1]}
    part_start[fields[at]]=${fields[at + 2]}
    part_size[fields[at]]=${fields[at + 3]}
    part_type[fields[at]]=${fields[at + 4]}
    # Of the last one the empty end is cut off.
    part_uuid[fields[at]]=${fields[at + 5]:-}
  done
  [[ $table_label == @(gpt|dos) ]]
}

content_at() { # <tag> <offset> <size>: prints that tag of what blkid finds there on the disk, or nothing
  blkid --probe --offset "$2" --size "$3" --match-tag "$1" --output value "/dev/$disk" || true
}

see_partition() { # <device>: waits until the kernel shows it
  update_partitions "$disk" 2>/dev/null
  wait_until 15 test -b "$1" || fail image/failed "timeout: the table of /dev/$disk has $1, but the kernel does not show it"
}
