# shellcheck shell=bash
# The partition table of an image: for which sectors it was made, where its backup is, and whether the kernel sees it.
# Needs the library's ur.sh and disks.sh, foresee.sh's number_at, and $disk.

fits_sectors() { # <file with the first bytes of the raw image>: refuses a table that was made for other sectors
  local sector other
  sector=$(attribute "$disk" queue/logical_block_size)
  # The header of a GPT is in the second sector, so that tells their size.
  other=$((sector == 512 ? 4096 : 512))
  ! is_gpt "$1" "$sector" || return 0
  if is_gpt "$1" "$other"; then
    printf 'the image was made for sectors of %d bytes, and the disk has sectors of %d' "$other" "$sector"
  elif ((sector != 512)) && is_mbr "$1"; then
    printf 'the image has an MBR, which counts sectors of 512 bytes, and the disk has sectors of %d' "$sector"
  else
    return 0
  fi
  return 1
}

is_gpt() { # <file or device> <sector size>
  [[ $(dd if="$1" bs=1 skip="$2" count=8 status=none | tr -d '\0') == 'EFI PART' ]]
}

is_mbr() { # <file>: succeeds if it has one with a partition; the boot sector of a file system has the same signature
  [[ $(number_at "$1" 510 2 little) == 43605 && $(number_at "$1" 450 1 little) != 0 ]] && ! is_fat "$1"
}

is_fat() { # <file>
  [[ $(blkid --probe --output value --match-tag TYPE "$1" 2>/dev/null || true) == @(vfat|ntfs|exfat) ]]
}

has_backup() { # succeeds if the GPT says that its backup is at the end of the disk, and there is one
  local sector last
  sector=$(attribute "$disk" queue/logical_block_size)
  last=$(($(attribute "$disk" size) * 512 / sector - 1))
  [[ $(number_at "/dev/$disk" $((sector + 32)) 8 little) == "$last" ]] \
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

see_partitions() { # sets partitions, JSON; fails unless the kernel has those of the table
  partx --update "/dev/$disk" || true
  ! command -v udevadm >/dev/null || udevadm settle --timeout=10 || true
  partitions=$(partitions_of_table)
  wait_until 15 has_partitions
}

partitions_of_table() { # prints them as a JSON array
  local prefix=/dev/$disk
  [[ $disk != *[0-9] ]] || prefix+=p
  # partx counts in 512 bytes, whatever the sectors. Of a disk without a table it says by its status no more than that.
  { partx --raw --noheadings --bytes --output NR,START,SIZE,TYPE,UUID "/dev/$disk" 2>/dev/null || true; } \
    | jq -Rcn --arg prefix "$prefix" '[inputs | split(" ") | {path: "\($prefix)\(.[0])", start: (.[1] | tonumber * 512),
        bytes: (.[2] | tonumber), type: (.[3] // ""), uuid: (.[4] // "")}]'
}

has_partitions() { # succeeds if each partition of the table has a device of its size
  local path bytes
  while read -r path bytes; do
    [[ -b $path && $(($(attribute "${path#/dev/}" size) * 512)) == "$bytes" ]] || return 1
  done < <(jq -r '.[] | "\(.path) \(.bytes)"' <<<"$partitions")
}
