# shellcheck shell=bash
# Which disks a task is to change, and every reason not to. It writes nothing: the caller looks at all reasons first.
# Needs the library's ur.sh, disks.sh and inuse.sh.

declare -A facts=()     # of each disk of the node, by name: JSON
declare -A untouched=() # why a disk is left alone: that is no error
declare -A refused=()   # why a disk must not be touched: one is enough to refuse the whole task
targets=()              # the disks to change

# Cluster file systems are in use by machines that this one knows nothing of. By signature, and by partition type for
# those that hide theirs: VMFS, GPFS; VMFS again in an MBR.
readonly shared_content='^(gfs2?|ocfs2|VMFS|VMFS_volume_member|aa31e02a-400f-11db-9590-000c2911d1b8|37affc90-ef7d-4e96-91c3-2d7ae055b174|0xfb)$'

refuse() { # <disk> <reason>
  refused[$1]+=${refused[$1]:+; }$2
}

choose_disks() { # <select, JSON array of hints> <skip, likewise>: sets facts, targets and untouched
  local all name hint matches
  all=$(list_disks | while read -r name; do disk_facts "$name"; done)
  while read -r name; do
    facts[$name]=$(jq -c --arg name "/dev/$name" 'select(.name == $name)' <<<"$all")
  done < <(names_in "$all")
  if [[ -n ${1#\[\]} ]]; then choose_selected "$1" "$all"; else choose_all; fi
  while read -r hint; do
    # A hint that was meant to save a disk, and means none, must not pass for one that was heeded.
    matches=$(match_disks "$hint" "$all")
    while read -r name; do
      for name in "$name" $(other_paths "$name"); do leave_alone "$name" "skip says so: $hint"; done
    done < <(names_in "$matches")
  done < <(items "$2")
  leave_second_paths
}

names_in() { # <facts>: prints the kernel's names
  jq -r '.name | ltrimstr("/dev/")' <<<"$1"
}

choose_selected() { # <select> <all facts>
  local hint name matches
  while read -r hint; do
    matches=$(match_disks "$hint" "$2")
    while read -r name; do
      [[ " ${targets[*]} " == *" $name "* ]] || targets+=("$name")
    done < <(names_in "$matches")
  done < <(items "$1")
}

choose_all() { # all drives, but for those that come with a machine's console or in somebody's pocket
  local name
  for name in $(printf '%s\n' "${!facts[@]}" | sort --version-sort); do
    [[ $(fact "$name" class) != loop ]] || continue
    targets+=("$name")
    if [[ $(fact "$name" tran) == usb || $(fact "$name" removable) == true ]]; then
      leave_alone "$name" 'it is removable, and select does not name it'
    elif [[ $(fact "$name" read_only) == true ]]; then
      leave_alone "$name" 'it is read-only, and select does not name it'
    fi
  done
}

fact() { # <disk> <key>
  jq -r --arg key "$2" '.[$key]' <<<"${facts[$1]}"
}

leave_alone() { # <disk> <reason>
  local name kept=()
  for name in "${targets[@]}"; do
    [[ $name == "$1" ]] || kept+=("$name")
  done
  targets=("${kept[@]}")
  untouched[$1]=$2
}

leave_second_paths() { # a disk behind two paths is one disk
  local name other
  for name in "${targets[@]}"; do
    [[ " ${targets[*]} " == *" $name "* ]] || continue
    for other in $(other_paths "$name"); do
      [[ " ${targets[*]} " != *" $other "* ]] || leave_alone "$other" "it is another path to /dev/$name"
    done
  done
}

other_paths() { # <disk>: prints the other names of the same disk; there are makers who give one WWN to all their drives
  printf '%s\n' "${facts[@]}" | jq -r --argjson disk "${facts[$1]}" 'select(.wwn != "" and .name != $disk.name
    and [.wwn, .serial, .bytes] == ($disk | [.wwn, .serial, .bytes])) | .name | ltrimstr("/dev/")'
}

identity() { # <disk>: prints what confirms it: its serial number, or the next best thing it has
  jq -r '[.serial, .wwn, .by_path, .name] | map(select(. != ""))[0]' <<<"${facts[$1]}"
}

guard_confirmed() { # <confirm_serials, JSON array>: exactly the disks to change must be named
  local name known=()
  for name in "${targets[@]}"; do
    known+=("$(identity "$name")")
    items "$1" | grep -qxF -- "${known[-1]}" || refuse "$name" "confirm_serials does not name it: ${known[-1]}"
  done
  while read -r name; do
    printf '%s\n' "${known[@]}" | grep -qxF -- "$name" \
      || fail disk/refused "confirm_serials names $name, which is none of the disks to change: $(disk_names "$(target_facts)")"
  done < <(items "$1")
}

target_facts() { # prints the facts of the disks to change
  local name
  for name in "${targets[@]}"; do printf '%s\n' "${facts[$name]}"; done
}

guard_disks() { # <whether disks that other machines may use are allowed>: all that holds for every task that writes to disks
  guard_writable
  guard_unused
  guard_not_spilling
  [[ $1 == true ]] || guard_unshared
}

guard_writable() {
  local name
  for name in "${targets[@]}"; do
    [[ $(fact "$name" read_only) == false ]] || refuse "$name" 'it is read-only'
  done
}

guard_unused() {
  local name path uses
  for name in "${targets[@]}"; do
    for path in "$name" $(other_paths "$name"); do
      uses=$(uses_of "$path")
      [[ -z $uses ]] || refuse "$name" "${uses//$'\n'/; }"
    done
  done
}

guard_not_spilling() { # what lies on a disk to change must not also lie on one that is to stay
  local name device disk
  for name in "${targets[@]}"; do
    while read -r device; do
      while read -r disk; do
        [[ " ${targets[*]} " == *" $disk "* ]] || refuse "$name" "/dev/$device also lies on /dev/$disk, which is not chosen"
      done < <(disks_below "$device")
    done < <(devices_of "$name")
  done
}

disks_below() { # <device>: prints the disks that it lies on
  local slave
  if [[ -e /sys/class/block/$1/partition ]]; then
    basename "$(dirname "$(readlink -f "/sys/class/block/$1")")"
  elif compgen -G "/sys/class/block/$1/slaves/*" >/dev/null; then
    for slave in "/sys/class/block/$1/slaves"/*; do disks_below "${slave##*/}"; done | sort -u
  else
    printf '%s\n' "$1"
  fi
}

guard_unshared() {
  local name found
  for name in "${targets[@]}"; do
    found=$(contents_of "$name")
    found=$(grep -E "$shared_content|^unclear" <<<"$found" | sort -u | tr '\n' ' ' || true)
    case $found in
      '') ;;
      unclear*) refuse "$name" "it may hold a cluster file system: ${found% }; look at it with wipefs" ;;
      *) refuse "$name" "it holds a cluster file system that other machines may use: ${found% }" ;;
    esac
  done
}

contents_of() { # <disk>: prints the types of what is on it: signatures, and partitions by type and signature
  local start size type table
  signature_at "$1" 0 "$(fact "$1" bytes)"
  # From the table itself, because a kernel may not know it, or not have looked yet; and whatever blkid says, which finds
  # no table where it is unsure. Of a disk without one partx says by its status no more than that.
  table=$(partx --raw --noheadings --bytes --output START,SIZE,TYPE "/dev/$1" 2>/dev/null || true)
  while read -r start size type; do
    [[ -n $start ]] || continue
    [[ -z $type ]] || printf '%s\n' "$type"
    signature_at "$1" $((start * 512)) "$size"
  done <<<"$table"
}

signature_at() { # <disk> <offset> <size>: prints nothing if there is none; blkid says so by status 2
  local status=0
  blkid --probe --offset "$2" --size "$3" --output export "/dev/$1" | sed -nE 's/^(PT)?TYPE=//p' || status=$?
  ((status == 0 || status == 2)) || printf 'unclear: more than one signature\n'
}

verdict() { # <disk> <verdict> <reason, or nothing> [<JSON object>]: prints the disk's part of the result
  jq -cn --argjson facts "${facts[$1]}" --arg verdict "$2" --arg reason "$3" --argjson more "${4:-"{}"}" '
    $facts | {path: .name, serial, wwn, model, class, bytes, $verdict}
    + if $reason == "" then {} else {$reason} end + $more'
}

untouched_verdicts() { # prints those of the disks that are left alone
  local name
  for name in "${!untouched[@]}"; do verdict "$name" skipped "${untouched[$name]}"; done
}

lock_targets() { # until the last of this task's processes has ended
  local name lock
  need flock:util-linux
  mkdir -p /run/lock
  for name in "${targets[@]}"; do
    # Not the device itself: udev waits for a lock on it, and much of what makes partitions and volumes waits for udev.
    exec {lock}>"/run/lock/ur-disk-$(attribute "$name" dev)"
    flock --exclusive --nonblock "$lock" || refuse "$name" 'another task is changing it'
  done
}

end_if_refused() { # ends the task if any disk must not be touched; nothing has been written then, nor will another task
  ((${#targets[@]} == 0 || ${#refused[@]})) || noop || {
    lock_targets
    # Until now another task may have been at work.
    ((${#refused[@]})) || guard_unused
  }
  report_refused
}

report_refused() { # ends the task if there is nothing to do, or something against it
  local name
  ((${#targets[@]})) || fail disk/refused 'there is no disk to change' "{\"disks\":$(untouched_verdicts | jq -cs .)}"
  ((${#refused[@]})) || return 0
  fail disk/refused "nothing was written: $(for name in "${!refused[@]}"; do printf '/dev/%s: %s. ' "$name" "${refused[$name]}"; done)" \
    "{\"disks\":$({
      untouched_verdicts
      for name in "${targets[@]}"; do
        if [[ -n ${refused[$name]:-} ]]; then
          verdict "$name" refused "${refused[$name]}"
        else
          verdict "$name" untouched 'another disk was refused'
        fi
      done
    } | jq -cs .)}"
}
