# shellcheck shell=bash
# The disks that a task is to change, and every reason not to. It writes nothing: the task looks at all reasons first.
# Needs the library's ur.sh, disks.sh and inuse.sh.

declare -A untouched=()   # why a disk is left alone: that is no error
declare -A refused=()     # why a disk must not be touched: one is enough to refuse the whole task
targets=()                # the disks to change
declare -A second_path=() # of each disk that is left alone as another path to one of those: that one
declare -A stranger=()    # of each of them that turned out to be a drive of its own: what says so

# Cluster file systems are in use by machines that this one knows nothing of. By signature, and by partition type for
# those that hide theirs: VMFS, GPFS; VMFS again in an MBR.
readonly shared_signatures=gfs,gfs2,ocfs2,VMFS,VMFS_volume_member
readonly shared_content='^('${shared_signatures//,/|}'|aa31e02a-400f-11db-9590-000c2911d1b8|37affc90-ef7d-4e96-91c3-2d7ae055b174|0xfb)$'

refuse() { # <disk> <reason>
  refused[$1]+=${refused[$1]:+; }$2
}

choose_disks() { # <select, JSON array of hints> <skip, likewise>: reads all disks; sets targets and untouched
  local names all='' name hint skipped
  names=$(list_disks)
  for name in $names; do
    read_disk "$name"
    all+=${facts[$name]}$'\n'
  done
  if [[ -n ${1#\[\]} ]]; then choose_selected "$1" "$all"; else choose_all; fi
  if [[ -n ${2#\[\]} ]]; then
    # A hint that was meant to save a disk, and means none, must not pass for one that was heeded.
    skipped=$(match_hints "$2" "$all")
    while IFS=$'\t' read -r hint name _; do
      for name in "$name" $(other_paths "$name"); do leave_alone "$name" "skip says so: $hint"; done
    done <<<"$skipped"
  fi
  leave_second_paths
}

choose_selected() { # <select> <all facts>
  local name matches
  matches=$(match_hints "$1" "$2")
  while IFS=$'\t' read -r _ name _; do
    [[ " ${targets[*]} " == *" $name "* ]] || targets+=("$name")
  done <<<"$matches"
}

choose_all() { # all drives, but for those that come with a machine's console or in a person's pocket
  local name
  for name in $(printf '%s\n' "${!facts[@]}" | sort --version-sort); do
    [[ ${disk_fact["$name class"]} != loop ]] || continue
    targets+=("$name")
    if [[ ${disk_fact["$name class"]} == other ]]; then
      leave_alone "$name" 'it is no drive of a kind that is known here, and select does not name it'
    elif [[ ${disk_fact["$name tran"]} == usb || ${disk_fact["$name removable"]} == true ]]; then
      leave_alone "$name" 'it is removable, and select does not name it'
    elif [[ ${disk_fact["$name read_only"]} == true ]]; then
      leave_alone "$name" 'it is read-only, and select does not name it'
    fi
  done
}

fact() { # <disk> <key>
  printf '%s' "${disk_fact["$1 $2"]}"
}

leave_alone() { # <disk> <reason>
  local name kept=()
  for name in "${targets[@]}"; do
    [[ $name == "$1" ]] || kept+=("$name")
  done
  targets=("${kept[@]}")
  untouched[$1]=$2
}

leave_second_paths() { # a disk behind two paths is one disk; a task that promises something of it has prove_second_paths find out
  local name other
  for name in "${targets[@]}"; do
    [[ " ${targets[*]} " == *" $name "* ]] || continue
    for other in $(other_paths "$name"); do
      [[ " ${targets[*]} " == *" $other "* ]] || continue
      leave_alone "$other" "it is another path to /dev/$name"
      second_path[$other]=$name
    done
  done
}

other_paths() { # <disk>: prints the other names of what says it is the same disk; there are makers who give one WWN to all their drives
  local other key
  # These have one path, whatever they say.
  [[ -n ${disk_fact["$1 wwn"]} && ${disk_fact["$1 tran"]} != @(sata|usb|virtio) ]] || return 0
  for other in "${!facts[@]}"; do
    [[ $other != "$1" ]] || continue
    for key in wwn serial bytes tran; do
      [[ ${disk_fact["$other $key"]} == "${disk_fact["$1 $key"]}" ]] || continue 2
    done
    printf '%s\n' "$other"
  done
}

identity() { # <disk>: prints what confirms it: its serial number, or the next best thing it has
  local key
  for key in serial wwn by_path name; do
    [[ -z ${disk_fact["$1 $key"]} ]] || break
  done
  printf '%s' "${disk_fact["$1 $key"]}"
}

guard_confirmed() { # <confirm_serials, JSON array>: exactly the disks to change must be named
  local name known=() confirmed=() all key drive
  local -A times=()   # how often each is named, and not yet used up
  local -A counted=() # the drives that one of these was used up for
  all=$(items "$1")
  [[ -z $all ]] || mapfile -t confirmed <<<"$all"
  for key in "${confirmed[@]}"; do times["$key."]=$((${times["$key."]:-0} + 1)); done
  for name in "${targets[@]}"; do
    key=$(identity "$name")
    known+=("$key")
    if ! is_among "$key" "${confirmed[@]}"; then
      refuse "$name" "confirm_serials does not name it: $key"
      continue
    fi
    # The namespaces of a controller are one drive, with one serial number.
    drive=$name
    [[ ! $name =~ ^(nvme[0-9]+)n[0-9]+$ ]] || drive=${BASH_REMATCH[1]}
    [[ -z ${counted["$drive $key"]:-} ]] || continue
    # Two drives of one serial number are two: one that the operator has not counted is not changed.
    if ((${times["$key."]} == 0)); then
      refuse "$name" "another disk to change has the same serial number, $key: confirm_serials must name it once for each"
    else
      times["$key."]=$((${times["$key."]} - 1))
      counted["$drive $key"]=yes
    fi
  done
  for name in "${confirmed[@]}"; do
    is_among "$name" "${known[@]}" \
      || fail disk/refused "confirm_serials names $name, which is none of the disks to change: $(disk_names "$(target_facts)")"
  done
}

is_among() { # <text> <text>…: succeeds if the first is one of the others
  local text
  for text in "${@:2}"; do
    [[ $text != "$1" ]] || return 0
  done
  return 1
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
    [[ ${disk_fact["$name read_only"]} == false ]] || refuse "$name" 'it is read-only'
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
  signature_at "$1" 0 "${disk_fact["$1 bytes"]}"
  # From the table itself, because a kernel may not know it, or not have looked yet; and whatever blkid says, which finds
  # no table where it is unsure. Of a disk without one partx says by its status no more than that.
  table=$(partx --raw --noheadings --bytes --output START,SIZE,TYPE "/dev/$1" 2>/dev/null || true)
  while read -r start size type; do
    [[ -n $start ]] || continue
    [[ -z $type ]] || printf '%s\n' "$type"
    signature_at "$1" $((start * 512)) "$size"
  done <<<"$table"
}

signature_at() { # <disk> <offset> <size>: prints nothing if there is none
  local status=0 at=(--probe --offset "$2" --size "$3" --output export "/dev/$1")
  blkid "${at[@]}" | sed -nE 's/^(PT)?TYPE=//p' || status=$?
  case $status in
    0) return ;;
    # Nothing; or, by util-linux 2.41, more than one signature, of which it said 8 before. Asked for those alone that
    # matter it is not in doubt; wipefs lists all, but only of a whole device.
    2)
      blkid "${at[@]}" --match-types "$shared_signatures" | sed -n 's/^TYPE=//p' || true
      (($2 > 0 || $(wipefs --noheadings --output TYPE "/dev/$1" | sort -u | wc -l) < 2)) || status=8
      ;;
  esac
  ((status == 2)) || printf 'unclear: more than one signature\n'
}

verdict() { # <disk> <verdict> <reason, or nothing> [<JSON object in one line>]: prints the disk's part of the result
  local key value json='' more=${4:-'{}'}
  for key in name serial wwn model class; do
    to_json value "${disk_fact["$1 $key"]}"
    json+="\"${key/#name/path}\":$value,"
  done
  json+="\"bytes\":${disk_fact["$1 bytes"]},\"verdict\":\"$2\""
  [[ -z $3 ]] || {
    to_json value "$3"
    json+=",\"reason\":$value"
  }
  [[ $more == '{}' ]] || json+=,${more:1:-1}
  printf '{%s}\n' "$json"
}

untouched_verdicts() { # prints those of the disks that are left alone
  local name
  for name in "${!untouched[@]}"; do
    if [[ -n ${stranger[$name]:-} ]]; then verdict "$name" failed "${stranger[$name]}"; else verdict "$name" skipped "${untouched[$name]}"; fi
  done
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
  ((${#targets[@]})) || fail disk/refused 'there is no disk to change' "{\"disks\":$(json_array "$(untouched_verdicts)")}"
  ((${#refused[@]})) || return 0
  local verdicts
  verdicts=$(
    untouched_verdicts
    for name in "${targets[@]}"; do
      if [[ -n ${refused[$name]:-} ]]; then
        verdict "$name" refused "${refused[$name]}"
      else
        verdict "$name" untouched 'another disk was refused'
      fi
    done
  )
  fail disk/refused "nothing was written: $(for name in "${!refused[@]}"; do printf '/dev/%s: %s. ' "$name" "${refused[$name]}"; done)" \
    "{\"disks\":$(json_array "$verdicts")}"
}
