#!/usr/bin/env bash
# Gives UEFI firmware a boot entry for the loader of a new image: what its entries name is what was there before. Nothing
# of the image is run, and no chroot is made into it.
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
# shellcheck source=scripts/image/files/boot/efi-loader.sh
source "$PT__installdir/image/files/boot/efi-loader.sh"
# shellcheck source=scripts/image/files/boot/efi-entries.sh
source "$PT__installdir/image/files/boot/efi-entries.sh"

entries='[]' order='' stale='[]' stale_numbers='' next='' right='' firmware_says='' made='' removable='' pruned=''
cleared=()

main() {
  trace
  need jq sfdisk:fdisk partx:util-linux blkid:util-linux wipefs:util-linux blockdev:util-linux findfs:util-linux mdir:mtools
  make_scratch
  choose_one_disk "$PT_disk"
  if [[ ! -d /sys/firmware/efi ]]; then
    result "$(verdict "$disk" left-alone 'this node was booted by a BIOS, which starts what the disk itself begins with')"
    return
  fi
  need efibootmgr chattr:e2fsprogs
  guards
  if noop; then
    report would-set
    return
  fi
  writes
  verification
}

guards() {
  guard_disks false
  end_if_refused
  # Nothing has been written, and the machine would not start: who goes on to boot it must know.
  if ! read_table || ! find_esp; then
    fail image/not-uefi "this node was booted by UEFI, and /dev/$disk has no EFI system partition with a boot loader for it \
($(firmware_suffix)): the image is for a BIOS or for another machine. Nothing was changed"
  fi
  mountpoint --quiet "$efivars" || mount -t efivarfs efivarfs "$efivars" || log 'efivarfs cannot be mounted'
  # Firmware that tells nothing may still start the loader from the place for removable media.
  if read_entries; then choose_entries; else log "efibootmgr: $firmware_says"; fi
}

writes() {
  progress 20 "$loader"
  remove_stale
  if [[ -z $right ]]; then
    made=true
    create_entry || right=none
  fi
  if [[ $right == none || ${PT_removable:-false} == true ]] && ! has_removable; then
    make_removable || fail image/failed "$loader could not be copied to the place for removable media; efibootmgr: $firmware_says"
    removable=made
    find_loader "$esp" || fail image/failed "$esp shows no loader any more"
  fi
  [[ $right != none ]] || return 0
  read_entries || fail image/failed "efibootmgr cannot list the boot entries any more: $firmware_says"
  choose_entries
  [[ -n $right ]] || fail image/failed "the firmware took the entry for $loader, but does not show it"
  set_order
  [[ ${PT_next:-false} == false ]] || efibootmgr --quiet --bootnext "$right"
}

verification() {
  if [[ $right == none ]]; then
    right=
    has_removable || fail image/failed "the firmware takes no entry, and $esp has nothing where it looks without one: $firmware_says"
    report removable "the firmware takes no entry: $firmware_says"
    return
  fi
  read_entries || fail image/failed "efibootmgr cannot list the boot entries any more: $firmware_says"
  choose_entries
  [[ -n $right && $stale == '[]' ]] || fail image/failed "after the work the entries are not as wanted: $entries"
  is_in_place || fail image/failed "Boot$right is not ${PT_order:-first} in the order: $order"
  [[ ${PT_next:-false} == false || $next == "$right" ]] || fail image/failed "the firmware did not take Boot$right for its next start"
  if [[ $made || $pruned != '[]' || $removable ]]; then report set; else report unchanged; fi
}

known_so_far() { # for an error of which no more is said
  [[ -n ${disk:-} && -v disk_fact["$disk serial"] ]] && verdict "$disk" failed ''
}

report() { # <verdict> [<reason>]
  local more numbers file gone=''
  has_removable || removable=absent
  numbers=${order//,/'","'}
  for file in "${cleared[@]}"; do gone+=,$(json_string "$file"); done
  more="{\"esp\":$(json_string "$esp"),\"loader\":$(json_string "${loader//\//\\}"),\"label\":$(json_string "$prefix$label"),\"pruned\":${pruned:-$stale}"
  more+=",\"order\":[${numbers:+\"$numbers\"}],\"nvram\":$(nvram),\"removable\":\"${removable:-there}\",\"cleared\":[${gone#,}]"
  more+=",\"entries\":$(jq -c 'map({number, label: .label, active, path})' <<<"$entries")"
  [[ -z $right ]] || more+=",\"entry\":\"$right\""
  [[ -z $next ]] || more+=",\"next\":\"$next\""
  result "$(verdict "$disk" "$1" "${2:-}" "$more}")"
}

main "$@"
