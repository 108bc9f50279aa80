# shellcheck shell=bash
# The uses of a disk: mounts, swap, open files, stacks. It looks through partitions and everything stacked on them (md, LVM, dm),
# and knows the difference between a stack, which can be taken down, and a use, which must not be disturbed.

devices_of() { # <device>: prints it, its partitions and all that lies on them, each once, what lies below first
  local queue=("$1") seen=' ' device above loop
  while ((${#queue[@]})); do
    device=${queue[0]}
    queue=("${queue[@]:1}")
    # A device that lies on several is printed after the last of them.
    seen=${seen/" $device "/ }$device' '
    for above in "/sys/class/block/$device/$device"*/partition "/sys/class/block/$device"/holders/*; do
      [[ -e $above ]] || continue
      above=${above%/partition}
      queue+=("${above##*/}")
    done
    for loop in /sys/class/block/loop*/loop/backing_file; do
      [[ -e $loop && $(<"$loop") == @(/dev/"$device"|/dev/mapper/"$(attribute "$device" dm/name)") ]] || continue
      loop=${loop%/loop/backing_file}
      queue+=("${loop##*/}")
    done
  done
  tr -s ' ' '\n' <<<"${seen# }" | sed '/^$/d'
}

uses_of() { # <disk>: prints what uses it, one use a line, in words; nothing if it is free
  local device
  while read -r device; do
    device_uses "$device"
    # A stack that this library cannot take down, a bcache for one, stays.
    [[ $device == "$1" || $device == @(md|dm-)* || -e /sys/class/block/$device/partition ]] \
      || printf '/dev/%s lies on it, and is neither md, LVM nor dm\n' "$device"
  done < <(devices_of "$1")
  openers_of "$1"
  boot_medium "$1"
}

openers_of() { # <disk>: prints the programs that have it or what lies on it open, without which no other question finds them
  local device names=(-false) open pid
  while read -r device; do
    names+=(-o -lname "/dev/$device")
    [[ ! -e /sys/class/block/$device/dm/name ]] || names+=(-o -lname "/dev/mapper/$(attribute "$device" dm/name)")
  done < <(devices_of "$1")
  # Processes come and go while it looks.
  while read -r open device; do
    pid=${open#/proc/}
    pid=${pid%%/*}
    # udev looks at every disk, and lets it go.
    [[ $(cat "/proc/$pid/comm" 2>/dev/null || true) != @(systemd-udevd|\(udev-worker\)|udevd|mdev) ]] || continue
    is_ours "$pid" || printf '%s is open in process %d (%s)\n' "$device" "$pid" "$(cat "/proc/$pid/comm" 2>/dev/null || true)"
  done < <(find /proc/[0-9]*/fd \( "${names[@]}" \) -printf '%p %l\n' 2>/dev/null || true) | sort -u
}

is_ours() { # <pid>: succeeds if it belongs to this task, or has ended
  local pid=$1
  while [[ -n $pid && $pid != "$$" ]]; do
    ((pid > 1)) || return 1
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null || true)
  done
}

device_uses() { # <device>: prints the uses of this very device
  local number uses
  number=$(attribute "$1" dev)
  # By number, not by name: mount tables have many names for a device, /dev/root among them. File systems that
  # have numbers of their own, such as btrfs and ZFS, are found by the name that they give as their source.
  uses=$(
    awk -v device="/dev/$1" -v number="$number" '{
        for (i = 7; $i != "-"; i++) {}
        if ($3 == number || $(i + 2) == device) print device " is mounted on " $5
      }' /proc/1/mountinfo /proc/self/mountinfo | sort -u
    awk -v device="/dev/$1" '$1 == device { print device " is swap" }' /proc/swaps
  )
  if [[ -z $uses ]] && is_leaf "$1" && is_busy "$1"; then
    uses="/dev/$1 is held open by the kernel: $(content_of "$1")"
  fi
  [[ -z $uses ]] || printf '%s\n' "$uses"
}

content_of() { # <device>: prints what its signature says it holds: type and label
  local found
  found=$(blkid --probe --output export "/dev/$1" || true)
  printf '%s %s' "$(sed -n 's/^TYPE=//p' <<<"$found")" "$(sed -n 's/^LABEL=//p' <<<"$found")"
}

is_leaf() { # <device>: succeeds if nothing known lies on it
  ! compgen -G "/sys/class/block/$1/$1*/partition" >/dev/null && ! compgen -G "/sys/class/block/$1/holders/*" >/dev/null
}

# What is open exclusively is in use, by any program, in any mount namespace: ZFS pools and other containers' mounts
# are found like this. Stacks open what they lie on exclusively, so this is a question for leaves alone. wipefs asks it
# before it does anything, and with --no-act does nothing.
is_busy() { # <device>
  [[ $(LC_ALL=C wipefs --no-act --all "/dev/$1" 2>&1 >/dev/null || true) == *busy* ]]
}

boot_medium() { # <disk>: says so if the kernel's command line names it or a part of it: what booted may be read again
  local word device
  for word in $(</proc/cmdline); do
    [[ $word == @(root|boot|live-media|resume)=* ]] || continue
    word=${word#*=}
    word=${word#live:}
    device=$(readlink -e "$(findfs "${word/#CDLABEL=/LABEL=}" 2>/dev/null || printf '%s' "$word")" || true)
    [[ -n $device ]] || continue
    if devices_of "$1" | grep -qxF "${device#/dev/}"; then
      printf '%s is what this node booted from\n' "$device"
    fi
  done
}
