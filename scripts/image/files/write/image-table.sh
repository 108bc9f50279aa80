# shellcheck shell=bash
# The partition table of an image: its sector size, the place of its backup, and its partitions as the kernel sees them.
# Needs the library's ur.sh and disks.sh, probe.sh's unsigned_at, and $disk.

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
  [[ $(unsigned_at "$1" 510 2 little) == 43605 && $(unsigned_at "$1" 450 1 little) != 0 ]] && ! is_fat "$1"
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
  blockdev --flushbufs "/dev/$disk"
  has_backup || return
  verdict=$(LC_ALL=C sfdisk --verify "/dev/$disk" 2>&1) || return
  log "$verdict"
  grep -q '^No errors detected' <<<"$verdict" || return
  printf true
}

see_partitions() { # sets partitions; fails unless the kernel has those of the table
  partx --update "/dev/$disk" || true
  ! command -v udevadm >/dev/null || udevadm settle --timeout=10 || true
  read_partitions
  wait_until 15 has_partitions
}

read_partitions() { # sets partitions, JSON, and partition_paths and partition_sizes
  local prefix=/dev/$disk line number start bytes type uuid all=''
  [[ $disk != *[0-9] ]] || prefix+=p
  partition_paths=() partition_sizes=()
  while read -r line; do
    # An empty column is between two blanks, which read would take for one.
    IFS=$'\x1f' read -r number start bytes type uuid <<<"${line// /$'\x1f'}"
    partition_paths+=("$prefix$number")
    partition_sizes+=("$bytes")
    # partx counts in 512 bytes, whatever the sectors.
    all+=",{\"path\":\"$prefix$number\",\"start\":$((start * 512)),\"bytes\":$bytes,\"type\":\"$type\",\"uuid\":\"$uuid\"}"
  done < <(partx --raw --noheadings --bytes --output NR,START,SIZE,TYPE,UUID "/dev/$disk" 2>/dev/null)
  partitions=[${all#,}]
}

has_partitions() { # succeeds if each partition of the table has a device of its size
  local number path
  for number in "${!partition_paths[@]}"; do
    path=${partition_paths[number]}
    [[ -b $path && $(($(attribute "${path#/dev/}" size) * 512)) == "${partition_sizes[number]}" ]] || return 1
  done
}
