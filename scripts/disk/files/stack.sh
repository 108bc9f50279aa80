# shellcheck shell=bash
# Takes down what is stacked on disks, so that the disks themselves can be changed. What the stacks are made of is
# erased with the disks. Needs the library's ur.sh and inuse.sh.

# In a ramdisk without udev nobody makes the nodes of new volumes, unless device mapper is told to do it itself.
[[ -e /run/udev/control ]] || export DM_DISABLE_UDEV=1
export LVM_SUPPRESS_FD_WARNINGS=1

need_for_stacks() { # <disk>…: the programs that taking down their stacks takes
  local name device
  for name; do
    while read -r device; do
      case $device in
        md*) need mdadm ;;
        dm-*) need dmsetup ;;
      esac
    done < <(devices_of "$name")
  done
}

take_down() { # <disk>…: stops all that lies on them, the topmost first
  local name device
  for name; do
    while read -r device; do
      # It may have gone with the stack of an earlier disk, or with what lay on it.
      [[ -e /sys/class/block/$device ]] || continue
      case $device in
        md*) stop_array "$device" ;;
        dm-*)
          dmsetup remove --retry "$(attribute "$device" dm/name)" \
            || fail disk/failed "/dev/$device on /dev/$name cannot be taken down, so no disk was erased: the log tells more"
          ;;
      esac
    done < <(devices_of "$name" | tac)
    wait_until 10 has_nothing_on_it "$name" || log "/dev/$name: still holds $(devices_of "$name" | tail -n +2 | tr '\n' ' ')"
  done
}

stop_array() { # <md device>
  local member members=()
  for member in "/sys/class/block/$1/slaves"/*; do members+=("/dev/${member##*/}"); done
  log "/dev/$1: stopping it; it lies on ${members[*]}"
  mdadm --stop "/dev/$1" || fail disk/failed "/dev/$1 cannot be stopped, so no disk was erased: the log tells more"
  # At once, or udev assembles the array again as soon as one of its members is touched.
  mdadm --zero-superblock --force "${members[@]}"
}

has_nothing_on_it() { # <disk>: succeeds if no md, LVM or dm lies on it or on its partitions
  local device
  while read -r device; do
    ! compgen -G "/sys/class/block/$device/holders/*" >/dev/null || return 1
  done < <(devices_of "$1")
}
