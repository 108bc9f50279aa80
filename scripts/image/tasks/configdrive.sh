#!/usr/bin/env bash
# Adds a config drive to a disk: a small partition with what a system that starts from an image has to know of its machine,
# in OpenStack's layout, with the label that cloud-init and its like look for.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/partitions.sh
source "$PT__installdir/ur/files/partitions.sh"
# shellcheck source=scripts/ur/files/inuse.sh
source "$PT__installdir/ur/files/inuse.sh"
# shellcheck source=scripts/disk/files/guards.sh
source "$PT__installdir/disk/files/guards.sh"
# shellcheck source=scripts/image/files/one-disk.sh
source "$PT__installdir/image/files/one-disk.sh"
# shellcheck source=scripts/image/files/partitions.sh
source "$PT__installdir/image/files/partitions.sh"
# shellcheck source=scripts/image/files/configdrive/image.sh
source "$PT__installdir/image/files/configdrive/image.sh"
# shellcheck source=scripts/image/files/configdrive/free-space.sh
source "$PT__installdir/image/files/configdrive/free-space.sh"

main() {
  need jq sfdisk:fdisk partx:util-linux blkid:util-linux wipefs:util-linux blockdev:util-linux findfs:util-linux \
    mkfs.vfat:dosfstools mcopy:mtools xorriso sha256sum:coreutils
  umask 077
  make_scratch
  read_secret_parameters
  [[ $drive_is_url == false ]] || need curl
  # No earlier: the parameters may be secret. From here on their values are in files alone.
  trace
  guards
  if noop; then
    report would-write
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
    find_old_drives
    choose_partition "$(bytes_needed)"
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
  device=${part_node[number]:-}
  [[ -n $device ]] || fail image/failed "the table of /dev/$disk does not show partition $number"
  see_partition "$device"
  blockdev --flushbufs "/dev/$disk"
  blockdev --flushbufs "$device"
  cmp "$image" "$device" || fail image/failed "read-back mismatch: $device does not hold what was written to it"
  find_old_drives
  [[ ${#old[@]} == 1 && ${old[0]} == "$number $offset $bytes" ]] || fail image/failed "/dev/$disk does not have exactly one config drive now: ${old[*]}"
  mounted=false
  if can_mount; then
    mkdir "$scratch/mount"
    {
      declare -f mount_and_compare
      printf 'mount_and_compare "$@"\n'
    } >"$scratch/mounter"
    # In a namespace of its own: no other process sees the mount, and it goes with the shell.
    unshare --mount --propagation private "$BASH" -eu "$scratch/mounter" "$filesystem" "$device" "$scratch/mount" "$tree" \
      || fail image/failed "$device could not be mounted, or its files are not those that were wanted"
    mounted=true
  fi
  report written
}

mount_and_compare() { # <type> <device> <directory> <directory with the same files>
  mount -t "$1" -o ro,nosuid,nodev,noexec "$2" "$3" && diff -r "$4" "$3"
}

can_mount() { # a kernel that does not know the file system is no reason to fail: the bytes have been compared
  grep -qw "$filesystem" /proc/filesystems || modprobe --quiet "$filesystem" 2>/dev/null
}

known_so_far() { # for an error of which no more is said
  [[ -n ${disk:-} && -v disk_fact["$disk serial"] ]] && verdict "$disk" failed ''
}

report() { # <verdict>
  local one more file files='' gone='' is_reused=false is_mounted=false
  while IFS= read -r file; do files+=,$(json_string "$file"); done < <(cd "$tree" && find . -type f -printf '%P\n' | sort)
  for one in "${emptied[@]}"; do gone+=,${one%% *}; done
  [[ -z $reused ]] || is_reused=true
  [[ ${mounted:-} != true ]] || is_mounted=true
  more="{\"number\":$number,\"partition\":$(json_string "${part_node[number]:-}"),\"offset\":$offset,\"partition_bytes\":$bytes"
  more+=",\"filesystem\":\"$filesystem\",\"reused\":$is_reused,\"files\":[${files#,}],\"emptied\":[${gone#,}]"
  [[ -z ${image:-} ]] || more+=",\"sha256\":\"$(sha256sum <"$image" | cut -d ' ' -f 1)\",\"mounted\":$is_mounted"
  result "$(verdict "$disk" "$1" '' "$more}")"
}

main "$@"
