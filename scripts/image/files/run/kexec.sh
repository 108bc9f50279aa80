# shellcheck shell=bash
# Start of another kernel by kexec, without the firmware: the obstacles, the loading, and the start. Needs the library's ur.sh.

# What the ramdisk's agent reboots with: it starts a kernel that is loaded.
readonly ramdisk_reboot=/usr/lib/ur/reboot

kexec_obstacle() { # prints why this machine must not use kexec, whatever the image is; nothing if it may
  local denied
  if [[ ! -e /sys/kernel/kexec_loaded ]]; then
    printf 'the running kernel has no kexec'
  elif [[ $(cat /proc/sys/kernel/kexec_load_disabled 2>/dev/null || true) == 1 ]]; then
    printf 'kernel.kexec_load_disabled is set'
  elif [[ ! -d /run/systemd/system && ! -x $ramdisk_reboot ]]; then
    printf 'nothing here starts a loaded kernel when the node reboots: neither systemd nor %s' "$ramdisk_reboot"
  else
    denied=$(denied_by)
    [[ -z $denied ]] || printf 'deny has %s' "$denied"
  fi
}

denied_by() { # prints the first pattern of deny that this machine, or a driver at work in it, matches
  local pattern driver
  while read -r pattern; do
    # shellcheck disable=SC2053 # they are patterns
    case $pattern in
      machine:*)
        if [[ $(machine_name) == ${pattern#machine:} ]]; then printf '%s' "$pattern" && return; fi
        ;;
      driver:*)
        for driver in /sys/bus/pci/devices/*/driver; do
          driver=$(readlink "$driver" || true)
          if [[ ${driver##*/} == ${pattern#driver:} ]]; then printf '%s' "$pattern" && return; fi
        done
        ;;
    esac
  done < <(items "${PT_deny:-[]}")
}

machine_name() { # prints maker and product, as firmware has them
  local maker='' product=''
  read -r maker 2>/dev/null </sys/class/dmi/id/sys_vendor || true
  read -r product 2>/dev/null </sys/class/dmi/id/product_name || true
  printf '%s %s' "$maker" "$product"
}

load_kernel() { # <directory with kernel, initrd and cmdline>: sets why if the kernel does not take it
  local call arguments=("--command-line=$(<"$1/cmdline")") said=''
  [[ ! -s $1/initrd ]] || arguments+=("--initrd=$1/initrd")
  # First the call that checks signatures, which a locked-down kernel insists on; then the one that old kernels have.
  for call in --kexec-file-syscall --kexec-syscall; do
    said+=$(limited 120 kexec "$call" --load "$1/kernel" "${arguments[@]}" 2>&1) || true
    if [[ $(</sys/kernel/kexec_loaded) == 1 ]]; then return; fi
    said+=' '
  done
  why="the running kernel does not load that of the image: ${said//$'\n'/; }"
}

unload_kernel() { # what another has loaded is not this image's
  [[ $(cat /sys/kernel/kexec_loaded 2>/dev/null || true) != 1 ]] || limited 30 kexec --unload
}

start_kernel() {
  if [[ -d /run/systemd/system ]]; then
    # The agent has asked systemd for a reboot. Older ones make that one through the firmware unless they are told.
    systemctl --force kexec
  else
    "$ramdisk_reboot"
  fi
}
