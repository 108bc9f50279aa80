# shellcheck shell=bash
# The file systems of an image that has been written to a disk, mounted read-only in a mount namespace that ends with the
# shell that reads them. Nothing of the image is run, its journals are not replayed, and its links lead nowhere else.

start_filesystems() {
  fs_at=()     # where each is mounted
  fs_type=()   # its type
  fs_uuid=()   # its UUID, as blkid prints it
  fs_label=()  # its label
  fs_unread=() # what holds something else: device and content
}

give_up() { # <reason>: ends the reading: a kernel is loaded only where all of the image's configuration is understood
  # In a subshell this ends no more than that, so the first reason is the one.
  [[ -e $looked/reason ]] || printf '%s' "$1" >"$looked/reason"
  exit 3
}

mount_all() { # <device>…: sets these lists
  local device type options at
  for device; do
    type=$(tag_of TYPE "$device")
    case $type in
      ext[234]) options=,noload ;;
      xfs) options=,norecovery ;;
      btrfs) options=,rescue=nologreplay ;;
      vfat) options= ;;
      '') continue ;;
      *)
        fs_unread+=("$device ($type)")
        continue
        ;;
    esac
    at=$looked/at-${device##*/}
    mkdir "$at"
    if mount -t "$type" -o "ro,nosuid,nodev,noexec$options" "$device" "$at"; then
      fs_at+=("$at") fs_type+=("$type")
      fs_uuid+=("$(tag_of UUID "$device")") fs_label+=("$(tag_of LABEL "$device")")
    else
      fs_unread+=("$device ($type, which cannot be mounted)")
    fi
  done
}

tag_of() { # <tag> <device>
  blkid --probe --match-tag "$1" --output value "$2" || true
}

resolve_inside() { # <number of the file system> <path in it>: prints where that is, links followed as the image would; fails if it is not there
  local rest=$2/ at='' part link links=0
  while [[ $rest == */* ]]; do
    part=${rest%%/*}
    rest=${rest#*/}
    case $part in
      '' | .) continue ;;
      ..)
        at=${at%/*}
        continue
        ;;
    esac
    if [[ -L ${fs_at[$1]}$at/$part ]]; then
      ((++links < 40)) || return 1
      link=$(readlink "${fs_at[$1]}$at/$part")
      [[ $link != /* ]] || at=
      rest=$link/$rest
    else
      at+=/$part
    fi
  done
  [[ -e ${fs_at[$1]}$at ]] && printf '%s' "${fs_at[$1]}$at"
}

is_uefi() { # succeeds if this machine's firmware is UEFI
  [[ -d /sys/firmware/efi ]]
}
