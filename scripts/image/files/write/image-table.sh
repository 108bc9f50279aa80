# shellcheck shell=bash
# The partition table of an image: its sector size, the place of its backup, and its partitions as the kernel sees them.
# Needs the library's ur.sh, disks.sh and partitions.sh, probe.sh's unsigned_at, $scratch and $disk.

check_sector_size() { # <file with the first bytes of the raw image>: refuses a table that was made for other sectors
  local sector other
  sector=$(attribute "$disk" queue/logical_block_size)
  # The header of a GPT is in the second sector, so that tells their size.
  other=$((sector == 512 ? 4096 : 512))
  ! is_gpt "$1" "$sector" || return 0
  if is_gpt "$1" "$other"; then
    printf 'sector size mismatch: the image was made for sectors of %d bytes, and the disk has sectors of %d' "$other" "$sector"
  elif ((sector != 512)) && is_mbr "$1"; then
    printf 'sector size mismatch: the image has an MBR, which counts sectors of 512 bytes, and the disk has sectors of %d' "$sector"
  else
    return 0
  fi
  return 1
}

is_gpt() { # <file or device> <sector size>
  [[ $(dd if="$1" bs=1 skip="$2" count=8 status=none | tr -d '\0') == 'EFI PART' ]]
}

is_mbr() { # <file>: succeeds if it has one with a partition; the boot sector of a file system has the same signature
  [[ $(unsigned_at "$1" 510 2 little) == 43605 && $(od -An -v -tx1 -j446 -N64 -w16 "$1" | awk '$5 != "00" { printf "x" }') ]] && ! is_fat "$1"
}

has_table() { # <file with the first bytes of a raw image>
  is_gpt "$1" 512 || is_gpt "$1" 4096 || is_mbr "$1"
}

is_fat() { # <file>
  [[ $(blkid --probe --output value --match-tag TYPE "$1" 2>/dev/null || true) == @(vfat|ntfs|exfat) ]]
}

has_backup() { # succeeds if the GPT says that its backup is at the end of the disk, and there is one
  local sector last
  sector=$(attribute "$disk" queue/logical_block_size)
  last=$(($(attribute "$disk" size) * 512 / sector - 1))
  [[ $(unsigned_at "/dev/$disk" $((sector + 32)) 8 little) == "$last" ]] \
    && [[ $(dd if="/dev/$disk" bs="$sector" skip="$last" count=1 status=none | head -c 8 | tr -d '\0') == 'EFI PART' ]]
}

fix_backup() { # makes the end of the disk the place of the GPT's backup; prints true, false if it was there, or null without a GPT
  local verdict
  is_gpt "/dev/$disk" "$(attribute "$disk" queue/logical_block_size)" || {
    printf null
    return
  }
  ! has_backup || {
    printf false
    return
  }
  # The kernel is told later. sgdisk would wait for a second.
  sfdisk --quiet --no-reread --no-tell-kernel --relocate gpt-bak-std "/dev/$disk" >&2 || return
  # It has made the protective MBR anew, without the flag that some BIOSes boot by.
  dd if="$scratch/head" of="/dev/$disk" bs=1 skip=446 seek=446 count=1 conv=notrunc,fsync status=none || return
  blockdev --flushbufs "/dev/$disk"
  has_backup || return
  verdict=$(LC_ALL=C sfdisk --verify "/dev/$disk" 2>&1) || return
  log "$verdict"
  grep -q '^No errors detected' <<<"$verdict" || return
  printf true
}

same_but_for_backup() { # succeeds if the disk begins with the head, but for what tells where the backup and the end of the disk are
  local sector different status=0
  sector=$(attribute "$disk" queue/logical_block_size)
  blockdev --flushbufs "/dev/$disk"
  cmp --verbose --bytes="$(size_of "$scratch/head")" "$scratch/head" "/dev/$disk" >"$scratch/different" || status=$?
  ((status < 2)) || return "$status"
  # Of the protective MBR that is the partition, but not its flag; of the header its checksum, the places of both headers, and
  # the last sector that partitions can have.
  different=$(awk -v header="$sector" '
    { at = $1 - 1; in_header = at - header }
    !(at >= 447 && at < 462 || in_header >= 16 && in_header < 20 || in_header >= 24 && in_header < 40 || in_header >= 48 && in_header < 56) { print at; exit }
  ' "$scratch/different")
  [[ -z $different ]] || log "/dev/$disk differs from the image at byte $different"
  [[ -z $different ]]
}

see_partitions() { # sets partitions, JSON; fails unless the kernel has those of the table
  update_partitions "$disk"
  read_partitions
  wait_until 15 has_all_partitions "$disk"
}

read_partitions() { # sets partitions
  local line number start bytes type uuid all=''
  while read -r line; do
    # An empty column is between two blanks, which read would take for one.
    IFS=$'\x1f' read -r number start bytes type uuid <<<"${line// /$'\x1f'}"
    # partx counts in 512 bytes, whatever the sectors.
    all+=",{\"path\":\"/dev/$(partition_name "$disk" "$number")\",\"start\":$((start * 512)),\"bytes\":$bytes,\"type\":\"$type\",\"uuid\":\"$uuid\"}"
  done < <(list_partitions "$disk")
  partitions=[${all#,}]
}
