#!/usr/bin/env bash
# Writes the image of an operating system to a disk, as it comes over the network. The disk cannot boot before it is known
# that all of the image is there, and right.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/partitions.sh
source "$PT__installdir/ur/files/partitions.sh"
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
# shellcheck source=scripts/image/files/write/probe.sh
source "$PT__installdir/image/files/write/probe.sh"
# shellcheck source=scripts/image/files/write/image-table.sh
source "$PT__installdir/image/files/write/image-table.sh"
# shellcheck source=scripts/image/files/write/shell-writer.sh
source "$PT__installdir/image/files/write/shell-writer.sh"
# shellcheck source=scripts/image/files/write/qcow2.sh
source "$PT__installdir/image/files/write/qcow2.sh"
# shellcheck source=scripts/image/files/write/parameters.sh
source "$PT__installdir/image/files/write/parameters.sh"
# shellcheck source=scripts/image/files/write/ur-writer.sh
source "$PT__installdir/image/files/write/ur-writer.sh"
# shellcheck source=scripts/image/files/write/pipeline.sh
source "$PT__installdir/image/files/write/pipeline.sh"

main() {
  # No trace: a url may carry a password.
  need jq curl:curl awk:gawk wipefs:util-linux partx:util-linux blkid:util-linux blockdev:util-linux blkdiscard:util-linux findfs:util-linux \
    cmp:diffutils openssl mbuffer sfdisk:fdisk pgrep:procps
  make_scratch
  guards
  if noop; then
    report would-write
    return
  fi
  writes
  verification
}

guards() {
  read_parameters
  choose_one_disk "$PT_disk"
  noop || guard_confirmed "${PT_confirm_serials:-[]}"
  guard_disks "${PT_allow_shared:-false}"
  end_if_refused
  probe_image "$mirrors" "$cached"
  guard_image
  report_refused
}

writes() {
  begun=$SECONDS
  find_ur_writer
  progress 0 "/dev/$disk: writing"
  fetch_and_write
  if [[ $format == raw ]]; then
    verify_raw
  elif [[ -z $one_pass ]]; then
    unpack_qcow2
  fi
  guard_head
  (wipe_before_write) || exit
  # The moment from which on the disk can boot.
  write_file "$scratch/head" 0 \
    || fail image/not-written "the head of the image cannot be written to /dev/$disk" "$(image_result failed)"
}

verification() {
  local fixed
  same_on_disk "$scratch/head" \
    || fail image/not-written "read-back mismatch: /dev/$disk does not begin with what was written there" "$(image_result failed)"
  progress 99 "/dev/$disk: partitions"
  fixed=$(fix_backup) \
    || fail image/failed "the backup of the partition table cannot be moved to the end of /dev/$disk: the log tells more" "$(image_result failed)"
  gpt_fixed=$fixed
  same_but_for_backup \
    || fail image/not-written "read-back mismatch: moving the backup of the partition table changed more of /dev/$disk: the log tells what" "$(image_result failed)"
  see_partitions \
    || fail image/failed "timeout: the kernel does not show these partitions of /dev/$disk: $(missing_partitions "$disk" | paste -sd ' ')" "$(image_result failed)"
  report written
}

report() { # <verdict>
  result "$(image_result "$1")"
}

main "$@"
