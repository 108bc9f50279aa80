# shellcheck shell=bash
# Where on a disk the config drive goes: where an older one is, else at the end. What is there is never moved, no number
# of a partition changes, and a file system before it can still grow up to it. Needs partitions.sh and drive.sh.

old=()     # partitions of this disk that are a config drive already: number, offset and bytes
emptied=() # those of them that are zeroed and not used again

find_old() { # sets old
  local number start bytes
  old=()
  while read -r number start bytes; do
    ! is_drive "$(content_at LABEL "$start" "$bytes")" || old+=("$number $start $bytes")
  done < <(partitions '"\(.number) \(.start * $sector) \(.size * $sector)"')
}

is_drive() { # <label>
  [[ ${1,,} == "$drive_label" ]]
}

guard_only_one() { # whoever looks for a config drive by its label must not find two
  local device own other
  own=$(for device in "$disk" $(other_paths "$disk"); do devices_of "$device"; done)
  for other in /sys/class/block/*; do
    device=${other##*/}
    if [[ ! -b /dev/$device || $device == fd+([0-9]) ]] || grep -qxF "$device" <<<"$own"; then continue; fi
    ! is_drive "$(blkid --probe --match-tag LABEL --output value "/dev/$device" 2>/dev/null || true)" \
      || refuse "$disk" "/dev/$device is a config drive too, and the next system could take that one: detach or wipe it first"
  done
}

choose_place() { # <bytes needed>: sets number, offset and bytes of the partition, and reused if it is there already
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
  bytes=$most_bytes
  number=$(jq '[.partitions[].number] as $taken | first(range(1; if .label == "dos" then 5 else 129 end) | select(IN($taken[]) | not)) // empty' <<<"$table")
  [[ -n $number ]] || refuse "$disk" "its table has no room for one more partition: there are $(jq '.partitions | length' <<<"$table")"
  offset=$(free_place)
  [[ -n $offset ]] || refuse "$disk" 'it has no 64 MiB that belong to no partition: the image, or what grew on it, takes all'
}

free_place() { # prints the offset of the last gap that is big enough, at its end and aligned; nothing if there is none
  jq -r --argjson bytes "$bytes" '.sector as $sector | (1048576 / $sector) as $align | ($bytes / $sector) as $size
    # What a logical partition takes is taken by the extended one around it.
    | .label as $kind | ([.partitions[] | select($kind == "gpt" or .number < 5) | {start, end: (.start + .size)}]
      | sort_by(.start)) as $taken
    | [[{end: .first}] + $taken, $taken + [{start: (.last + 1)}]] | transpose | reverse
    | first(.[] | {low: .[0].end, start: (((.[1].start - $size) / $align | floor) * $align)} | select(.start >= .low))
    | .start * $sector' <<<"$table"
}

add_partition() { # the content is there already, so nobody ever sees the partition without it
  local sector what=type=83
  sector=$(jq .sector <<<"$table")
  [[ $(jq -r .label <<<"$table") == dos ]] || what="type=linux, name=$drive_label"
  # sfdisk writes the second half of a GPT to the end of the disk, also where it was elsewhere.
  printf 'start=%d, size=%d, %s\n' $((offset / sector)) $((bytes / sector)) "$what" \
    | sfdisk --quiet --no-reread --no-tell-kernel --wipe never --partno "$number" "/dev/$disk" \
    || fail image/failed "sfdisk could not add the partition to /dev/$disk"
  sync "/dev/$disk"
}
