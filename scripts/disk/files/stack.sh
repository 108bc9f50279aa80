# shellcheck shell=bash
# Stacks on disks, md, LVM and dm: taking them down, so that the disks themselves can be changed. What they are made of is
# erased with the disks. Needs the library's ur.sh and inuse.sh.

# In a ramdisk without udev no program makes the nodes of new volumes, unless device mapper is told to do it itself.
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
  local name device stopped=() members=()
  for name; do
    while read -r device; do
      # It may have gone with the stack of an earlier disk, or with what lay on it.
      [[ -e /sys/class/block/$device ]] || continue
      case $device in
        md*) stop_array "$device" ;;
        dm-*)
          dmsetup remove --retry "$(attribute "$device" dm/name)" \
            || fail disk/failed "/dev/$device on /dev/$name cannot be taken down: the log tells more. $(stopped_stacks)"
          ;;
        *) continue ;;
      esac
      stopped+=("/dev/$device")
    done < <(devices_of "$name" | tac)
  done
  for name; do
    wait_until 10 has_nothing_on_it "$name" \
      || fail disk/failed "/dev/$name still holds $(devices_of "$name" | tail -n +2 | tr '\n' ' '). $(stopped_stacks)"
  done
  # At once, or udev assembles the arrays again as soon as one of their members is touched; but not before all are stopped,
  # so that whatever fails above leaves arrays that can be started again.
  for device in "${members[@]}"; do
    # A volume that was a member has gone with its group.
    [[ ! -b $device ]] || mdadm --zero-superblock --force "$device"
  done
}

stopped_stacks() { # prints how take_down leaves the disks
  if ((${#stopped[@]})); then printf 'No disk was written to; stopped, and not started again: %s' "${stopped[*]}"; else printf 'Nothing was changed'; fi
}

stop_array() { # <md device>: adds what it lay on to members
  local member
  log "/dev/$1: stopping it"
  for member in "/sys/class/block/$1/slaves"/*; do
    # An array in an array, such as an IMSM volume in its container, goes with it.
    [[ ${member##*/} == md* ]] || members+=("/dev/${member##*/}")
  done
  mdadm --stop "/dev/$1" || fail disk/failed "/dev/$1 cannot be stopped: the log tells more. $(stopped_stacks)"
}

has_nothing_on_it() { # <disk>: succeeds if no md, LVM or dm lies on it or on its partitions
  local device
  while read -r device; do
    ! compgen -G "/sys/class/block/$device/holders/*" >/dev/null || return 1
  done < <(devices_of "$1")
}
