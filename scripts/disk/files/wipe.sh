# shellcheck shell=bash
# Signatures and partition tables, which make a disk look used: removing them. The data between stays; disk::erase is for data.
# Needs the library's ur.sh and inuse.sh.

# How much of either end is overwritten. Every partition table, LVM and md superblock, ZFS label and boot loader lies
# within it.
readonly wiped_end=$((4 << 20))

wipe_disk() { # <disk>: its partitions first, because without the table their signatures cannot be found any more
  local device
  # The kernel may not have looked at the table, or looked at an older one.
  reread_table "$1" 2>/dev/null || true
  ! command -v udevadm >/dev/null || udevadm settle --timeout=10 || true
  while read -r device; do
    wipe_device "$device" || return
  done < <(devices_of "$1" | tac)
  partx --delete "/dev/$1" 2>/dev/null || true
  sync "/dev/$1" && blockdev --flushbufs "/dev/$1"
}

wipe_device() { # <disk or partition>: fails if a signature is still there, or came to light
  local bytes offset traces
  bytes=$(($(attribute "$1" size) * 512))
  wipefs --all --force "/dev/$1" || return
  # Superblocks have copies farther in: btrfs at 64 MiB and 256 GiB, Ceph's BlueStore at 1, 10, 100 and 1000 GiB.
  for offset in 0 $((64 << 20)) $((1 << 30)) $((10 << 30)) $((100 << 30)) $((256 << 30)) $((1000 << 30)); do
    zero "$1" "$offset" "$((offset ? 1 << 20 : wiped_end))" "$bytes" || return
  done
  zero "$1" $((bytes > wiped_end ? bytes - wiped_end : 0)) "$wiped_end" "$bytes" || return
  traces=$(wipefs --noheadings --output DEVICE,TYPE,OFFSET "/dev/$1") || return
  [[ -z $traces ]] || { log "$traces" && return 1; }
}

zero() { # <device> <offset> <length> <size of the device>: overwrites what of that range there is
  local length=$3
  (($2 < $4)) || return 0
  ((length <= $4 - $2)) || length=$(($4 - $2))
  dd if=/dev/zero of="/dev/$1" bs=1M iflag=count_bytes oflag=seek_bytes count="$length" seek="$2" conv=fsync,notrunc status=none
}

# Serial number, WWN and size are what makers write into drives, and some write the same into many. So of a disk that was left
# alone as another path to one that was changed it is shown that it is: what is written by the one is read by the other.
prove_second_paths() { # sets stranger; the first block of the disks that have such paths is zeros afterwards
  local other name
  for other in "${!second_path[@]}"; do
    name=${second_path[$other]}
    is_same_drive "$name" "$other" \
      || stranger["$other"]="it has the serial number, WWN and size of /dev/$name, and what was written to that cannot be read from it: it is another drive, and was not touched"
  done
}

is_same_drive() { # <disk> <other disk>
  local mark=$scratch/$2.same status=0
  head -c 4096 /dev/urandom >"$mark"
  {
    limited 60 dd if="$mark" of="/dev/$1" bs=4096 oflag=direct conv=fsync,notrunc status=none \
      && limited 60 dd if="/dev/$2" bs=4096 count=1 iflag=direct status=none | cmp --silent - "$mark"
  } || status=1
  zero "$1" 0 4096 4096 || status=1
  return "$status"
}

traces_of() { # <disk>: prints, one a line, the signatures that are left on it and on its partitions
  local device
  while read -r device; do
    wipefs --noheadings --output DEVICE,TYPE,OFFSET "/dev/$device"
  done < <(devices_of "$1")
}
