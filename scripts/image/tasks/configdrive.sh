#!/usr/bin/env bash
# A system that starts from an image knows nothing of the machine it starts on. What it shall know lies on a small
# partition with a label that cloud-init and its like look for: OpenStack's config drive.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/inuse.sh
source "$PT__installdir/ur/files/inuse.sh"
# shellcheck source=scripts/disk/files/guards.sh
source "$PT__installdir/disk/files/guards.sh"
# shellcheck source=scripts/image/files/one-disk.sh
source "$PT__installdir/image/files/one-disk.sh"
# shellcheck source=scripts/image/files/partitions.sh
source "$PT__installdir/image/files/partitions.sh"
# shellcheck source=scripts/image/files/drive.sh
source "$PT__installdir/image/files/drive.sh"
# shellcheck source=scripts/image/files/place.sh
source "$PT__installdir/image/files/place.sh"

main() {
  need jq sfdisk:fdisk partx:util-linux blkid:util-linux wipefs:util-linux blockdev:util-linux findfs:util-linux \
    mkfs.vfat:dosfstools mcopy:mtools xorriso sha256sum:coreutils
  umask 077
  make_scratch
  read_given
  if jq -e '.drive // "" | test("^https?://")' "$given" >/dev/null; then need curl; fi
  # No earlier: the parameters may be secret. From here on their values are in files alone.
  trace
  guards
  if noop; then
    answer would-write
    return
  fi
  writes
  verification
}

guards() {
  choose_one_disk "$PT_disk"
  noop || guard_confirmed "${PT_confirm_serials:-[]}"
  guard_disks false
  guard_only_one
  if read_table; then
    make_tree
    choose_filesystem "$(fact "$disk" sector)"
    find_old
    choose_place "$(bytes_needed)"
  else
    refuse "$disk" 'it has no partition table that could get one more partition: write an image first'
  fi
  end_if_refused
}

writes() {
  local one start size
  progress 30 'making the drive'
  build_image "$bytes" "$(fact "$disk" sector)"
  progress 60 'writing'
  for one in "${emptied[@]}"; do
    read -r _ start size <<<"$one"
    # It may hold passwords, and its label must go in any case.
    write_at "$start" <(head -c "$size" /dev/zero)
  done
  write_at "$offset" "$image"
  [[ $reused ]] || add_partition
}

write_at() { # <offset> <file>
  dd if="$2" of="/dev/$disk" bs=1M iflag=fullblock oflag=seek_bytes seek="$1" conv=notrunc,fsync status=none
}

verification() {
  local device
  progress 80 'reading it back'
  read_table || fail image/failed "/dev/$disk has no partition table any more"
  device=$(partitions "select(.number == $number) | .node")
  [[ -n $device ]] || fail image/failed "the table of /dev/$disk does not show partition $number"
  see_partition "$device"
  blockdev --flushbufs "/dev/$disk"
  blockdev --flushbufs "$device"
  cmp "$image" "$device" || fail image/failed "what $device holds is not what was written to it"
  find_old
  [[ ${#old[@]} == 1 && ${old[0]} == "$number $offset $bytes" ]] || fail image/failed "/dev/$disk does not have exactly one config drive now: ${old[*]}"
  mounted=false
  if can_mount; then
    # In a namespace of its own: nobody else sees the mount, and it goes with the shell.
    unshare --mount --propagation private sh -euc 'mount -t "$1" -o ro,nosuid,nodev,noexec "$2" "$3" && diff -r "$4" "$3"' - \
      "$filesystem" "$device" "$(mkdir "$scratch/mount" && printf '%s' "$scratch/mount")" "$tree" \
      || fail image/failed "$device could not be mounted, or its files are not those that were wanted"
    mounted=true
  fi
  answer written
}

can_mount() { # a kernel that does not know the file system is no reason to fail: the bytes have been compared
  grep -qw "$filesystem" /proc/filesystems || modprobe --quiet "$filesystem" 2>/dev/null
}

answer() { # <verdict>
  local more files sha256=''
  files=$(cd "$tree" && find . -type f -printf '%P\n' | sort)
  [[ -z ${image:-} ]] || sha256=$(sha256sum <"$image" | cut -d ' ' -f 1)
  more=$(jq -c --argjson number "$number" --argjson offset "$offset" --argjson bytes "$bytes" --arg filesystem "$filesystem" \
    --arg reused "$reused" --arg emptied "$(printf '%s\n' "${emptied[@]}")" --arg mounted "${mounted:-}" \
    --arg files "$files" --arg sha256 "$sha256" '
    {number: $number, partition: ([.partitions[] | select(.number == $number).node][0] // ""), offset: $offset,
     partition_bytes: $bytes, filesystem: $filesystem, reused: ($reused == "true"), files: [$files | splits("\n")],
     emptied: [$emptied | splits("\n") | select(. != "") | split(" ")[0] | tonumber]}
    + if $sha256 == "" then {} else {sha256: $sha256, mounted: ($mounted == "true")} end' <<<"$table")
  result "$(verdict "$disk" "$1" '' "$more")"
}

main "$@"
