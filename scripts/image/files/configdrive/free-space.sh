# shellcheck shell=bash
# Free space for the config drive: where an older one is, else at the end of the disk. What is there is never moved, no
# number of a partition changes, and a file system before it can still grow up to it. Needs partitions.sh and
# configdrive/image.sh.

old=()     # partitions of this disk that are a config drive already: number, offset and bytes
emptied=() # those of them that are zeroed and not used again

find_old_drives() { # sets old
  local number start bytes
  old=()
  for number in "${!part_start[@]}"; do
    start=$((part_start[number] * table_sector)) bytes=$((part_size[number] * table_sector))
    ! is_drive "$(content_at LABEL "$start" "$bytes")" || old+=("$number $start $bytes")
  done
}

is_drive() { # <label>
  [[ ${1,,} == "$drive_label" ]]
}

guard_only_one() { # cloud-init, which looks for a config drive by its label, must not find two
  local device own other
  own=$(for device in "$disk" $(other_paths "$disk"); do devices_of "$device"; done)
  for other in /sys/class/block/*; do
    device=${other##*/}
    if [[ ! -b /dev/$device || $device == fd+([0-9]) ]] || grep -qxF "$device" <<<"$own"; then continue; fi
    ! is_drive "$(blkid --probe --match-tag LABEL --output value "/dev/$device" 2>/dev/null || true)" \
      || refuse "$disk" "/dev/$device is a config drive too, and the next system could take that one: detach or wipe it first"
  done
}

choose_partition() { # <bytes needed>: sets number, offset and bytes of the partition, and reused if it is there already
  local one
  reused=
  for one in "${old[@]}"; do
    read -r number offset bytes <<<"$one"
    if ((bytes >= $1)); then
      reused=true
      break
    fi
  done
  for one in "${old[@]}"; do [[ $reused && $one == "$number "* ]] || emptied+=("$one"); done
  [[ ! $reused ]] || return 0
  (($1 <= max_drive_bytes)) || fail image/refused "the files take $1 bytes, and a config drive has at most $max_drive_bytes: leave some out, or let the system fetch them"
  bytes=$max_drive_bytes
  number=$(free_number)
  [[ -n $number ]] || refuse "$disk" "its table has no room for one more partition: there are ${#part_node[@]}"
  offset=$(find_gap)
  [[ -n $offset ]] || refuse "$disk" 'no free space: it has no 64 MiB that belong to no partition; the image, or what grew on it, takes all'
}

free_number() { # prints the first number that a partition can get, or nothing
  local number last=128
  [[ $table_label != dos ]] || last=4
  for ((number = 1; number <= last; number++)); do
    [[ -n ${part_node[number]:-} ]] || {
      printf '%d' "$number"
      return
    }
  done
}

find_gap() { # prints the offset of the last gap that is big enough, at its end and aligned; nothing if there is none
  local one align=$((1048576 / table_sector)) sectors=$((bytes / table_sector)) place next=$((table_last + 1)) start end
  while read -r start end; do
    place=$(((next - sectors) / align * align))
    if ((place >= end)); then
      printf '%d' $((place * table_sector))
      return
    fi
    next=$start
  done < <(
    for one in "${!part_start[@]}"; do
      # What a logical partition takes is taken by the extended one around it.
      [[ $table_label == dos ]] && ((one > 4)) || printf '%d %d\n' "${part_start[one]}" $((part_start[one] + part_size[one]))
    done | sort -rn
    printf '0 %d\n' "$table_first"
  )
}

add_partition() { # the content is there already, so that the partition is never seen without it
  local what=type=83
  [[ $table_label == dos ]] || what="type=linux, name=$drive_label"
  # sfdisk writes the second half of a GPT to the end of the disk, also where it was elsewhere.
  printf 'start=%d, size=%d, %s\n' $((offset / table_sector)) $((bytes / table_sector)) "$what" \
    | sfdisk --quiet --no-reread --no-tell-kernel --wipe never --partno "$number" "/dev/$disk" \
    || fail image/failed "sfdisk could not add the partition to /dev/$disk"
  sync "/dev/$disk"
}
