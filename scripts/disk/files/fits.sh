# shellcheck shell=bash
# The parts of a layout that cannot be built: too large, too small, or refused by the program that would make them. They are
# found before the first write. Needs layout.sh and build.sh, and $scratch.

declare -A room=() # by name: the bytes, at most, of what things are built on; nothing where that is not known
misfits=()         # why the layout cannot be built, one for each reason

readonly mib=$((1 << 20)) extent=$((4 << 20)) # LVM's extents, as vgcreate makes them
# Of a bigger file system a file of this size tells: label and options are the same, and no program needs more.
readonly trial_bytes=$((512 << 20))

guard_fits() { # ends the task if anything of the layout that is not there yet cannot be made
  local kind name reasons
  while IFS=$'\t' read -r kind name; do
    ! declare -F "fit_$kind" >/dev/null || "fit_$kind" "$name"
  done < <(want things)
  ((${#misfits[@]})) || return 0
  printf -v reasons '%s; ' "${misfits[@]}"
  fail disk/layout "nothing was written: ${reasons%; }"
}

is_right() { # <kind> <name>
  [[ ${state["$1 $2"]} == right ]]
}

fit_table() { # <disk's name>: sfdisk begins and ends partitions at whole MiB, and keeps both ends of the disk for its table
  local disk=${disk_of[$1]} left name size sector
  room[$1]=${disk_fact["$disk bytes"]}
  sector=$((${disk_fact["$disk sector"]:-0} ? ${disk_fact["$disk sector"]} : 512))
  left=$(((room[$1] - mib - sector - (16384 + sector - 1) / sector * sector) / mib * mib))
  while read -r name; do
    size=${wanted["size of $name"]:-}
    if [[ -z $size ]]; then
      size=$left
      is_right table "$1" || ((left >= mib)) || misfits+=("partition $name: nothing of disk $1 is left for it")
    elif ! is_right table "$1"; then
      ((size > 0 && size % mib == 0)) || misfits+=("partition $name: $size bytes are no whole number of MiB")
      ((size <= left)) || misfits+=("partition $name: $size bytes are wanted, and $((left > 0 ? left : 0)) of disk $1 are left for it")
    fi
    room[$name]=$size left=$((left - size))
  done < <(want 'partitions of' "$1")
}

fit_array() { # <name>
  local level=${wanted["level of $1"]} member number=0 sum=0 least='' minimum=2
  [[ $level != raid6 ]] || minimum=4
  while read -r member; do
    number=$((number + 1))
    [[ -n ${room[$member]:-} ]] || return 0
    sum=$((sum + room[$member]))
    ((${least:-room[$member]} < room[$member])) || least=${room[$member]}
  done < <(want 'array members of' "$1")
  is_right array "$1" || ((number >= minimum)) || misfits+=("array $1: $level takes $minimum members at least, not $number")
  # At most: mdadm keeps some of it for itself.
  case $level in
    raid0) room[$1]=$sum ;;
    raid1) room[$1]=$least ;;
    raid4 | raid5) room[$1]=$((least * (number - 1))) ;;
    raid6) room[$1]=$((least * (number - 2))) ;;
    raid10) room[$1]=$((least * number / 2)) ;;
  esac
}

fit_group() { # <name>
  local member left=0
  if ! is_right group "$1"; then
    while read -r member; do
      [[ -n ${room[$member]:-} ]] || return 0
      # LVM keeps the first MiB.
      left=$((left + (room[$member] - mib) / extent * extent))
    done < <(want 'group members of' "$1")
  else
    left=$(vgs --noheadings --units b --nosuffix --options vg_free "$1" 2>/dev/null | tr -d ' ') || return 0
  fi
  room["group $1"]=$left
}

fit_volume() { # <group/volume>
  local group=${1%/*} size=${wanted["size of $1"]:-} left
  left=${room["group $group"]:-}
  if [[ -n $left && ${state["volume $1"]} == absent ]]; then
    if [[ -n $size ]]; then size=$(((size + extent - 1) / extent * extent)); else size=$left; fi
    if ((size < extent)); then
      misfits+=("volume $1: nothing of group $group is left for it")
    elif ((size > left)); then
      misfits+=("volume $1: $size bytes are wanted, and $((left > 0 ? left : 0)) of group $group are left for it")
    fi
    room["group $group"]=$((left - size))
  fi
  [[ -z $size ]] || room[$1]=$size
}

fit_pool() { # <name>
  local what name type=single number=0 least
  ! is_right pool "$1" || return 0
  while read -r what name; do
    if [[ $what == on ]]; then
      number=$((number + 1))
      continue
    fi
    check_vdev "$1" "$type" "$number"
    type=$name number=0
  done < <(want 'vdevs of' "$1")
  check_vdev "$1" "$type" "$number"
}

check_vdev() { # <pool> <type> <how many members>
  local -A minimum=([single]=0 [mirror]=2 [raidz1]=2 [raidz2]=3 [raidz3]=4)
  (($3 >= minimum[$2])) || misfits+=("pool $1: $2 takes ${minimum[$2]} members at least, not $3")
}

fit_filesystem() { # <name of what it is on>: its own program tries it on a sparse file
  local trial=$scratch/trial bytes=${room[$1]:-$trial_bytes} label=${wanted["filesystem label $1"]:-} said found
  ! is_right filesystem "$1" || return 0
  ((bytes <= trial_bytes)) || bytes=$trial_bytes
  # What has no room was told already.
  ((bytes > 0)) || return 0
  truncate --size "$bytes" "$trial"
  if ! said=$(format "$1" "$trial" 2>&1); then
    misfits+=("filesystem $1: the program that makes ${wanted["filesystem type $1"]} refuses: $(tail -n 1 <<<"$said")")
  elif [[ -n $label ]]; then
    # Some programs cut it, and say so to nobody.
    found=$(signature "$trial" LABEL)
    [[ $found == "$label" ]] || misfits+=("filesystem $1: ${wanted["filesystem type $1"]} cannot have the label $label: it becomes $found")
  fi
  rm -f "$trial"
}
