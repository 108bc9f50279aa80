#!/usr/bin/env bash
# The way from a blank disk to an operating system is an image. It goes to the disk as it comes, and the disk cannot boot
# before it is known that all of it is there, and right.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/inuse.sh
source "$PT__installdir/ur/files/inuse.sh"
# shellcheck source=scripts/ur/files/mirrors.sh
source "$PT__installdir/ur/files/mirrors.sh"
# shellcheck source=scripts/disk/files/guards.sh
source "$PT__installdir/disk/files/guards.sh"
# shellcheck source=scripts/disk/files/stack.sh
source "$PT__installdir/disk/files/stack.sh"
# shellcheck source=scripts/disk/files/wipe.sh
source "$PT__installdir/disk/files/wipe.sh"
# shellcheck source=scripts/image/files/one-disk.sh
source "$PT__installdir/image/files/one-disk.sh"
# shellcheck source=scripts/image/files/checksum.sh
source "$PT__installdir/image/files/checksum.sh"
# shellcheck source=scripts/image/files/foresee.sh
source "$PT__installdir/image/files/foresee.sh"
# shellcheck source=scripts/image/files/table.sh
source "$PT__installdir/image/files/table.sh"
# shellcheck source=scripts/image/files/lay.sh
source "$PT__installdir/image/files/lay.sh"
# shellcheck source=scripts/image/files/qcow2.sh
source "$PT__installdir/image/files/qcow2.sh"
# shellcheck source=scripts/image/files/wanted.sh
source "$PT__installdir/image/files/wanted.sh"
# shellcheck source=scripts/image/files/passes.sh
source "$PT__installdir/image/files/passes.sh"

main() {
  # No trace: a url may carry a password.
  need jq curl:curl awk:gawk wipefs:util-linux partx:util-linux blkid:util-linux blockdev:util-linux blkdiscard:util-linux findfs:util-linux \
    cmp:diffutils openssl mbuffer sfdisk:fdisk pgrep:procps
  make_scratch
  guards
  if noop; then
    answer would-write
    return
  fi
  writes
  verification
}

guards() {
  read_image
  choose_one_disk "$PT_disk"
  noop || guard_confirmed "${PT_confirm_serials:-[]}"
  guard_disks "${PT_allow_shared:-false}"
  end_if_refused
  foresee "$mirrors" "$cached"
  guard_image
  report_refused
}

writes() {
  begun=$SECONDS
  progress 0 "/dev/$disk: writing"
  bring
  if [[ $format == qcow2 ]]; then unpack_qcow2; else weigh_raw; fi
  (wipe_once) || exit
  # The moment from which on the disk can boot.
  lay_file "$scratch/head" 0 \
    || fail image/not-written "the head of the image cannot be written to /dev/$disk" "$(so_far failed)"
}

verification() {
  same_on_disk "$scratch/head" \
    || fail image/not-written "/dev/$disk does not begin with what was written there" "$(so_far failed)"
  progress 99 "/dev/$disk: partitions"
  gpt_fixed=$(fix_backup) \
    || fail image/failed "the backup of the partition table cannot be moved to the end of /dev/$disk: the log tells more" "$(so_far failed)"
  see_partitions \
    || fail image/failed "the kernel does not see the partitions of /dev/$disk: $(jq -r 'map(.path) | join(", ")' <<<"$partitions")" "$(so_far failed)"
  answer written
}

answer() { # <verdict>
  result "$(so_far "$1" | jq -c 'if .secs > 0 and .bytes then . + {mbps: (.bytes / .secs / 10000 | round / 100)} else . end')"
}

main "$@"
