# shellcheck shell=bash
# The boot entries of UEFI firmware, by efibootmgr. Ours are told from others by the start of their label. Needs the
# library's ur.sh.

readonly efivars=/sys/firmware/efi/efivars prefix='Ur: '
# The kernel's own: what it saved of a crash.
readonly dump=dump-type0-

# efibootmgr writes HD(1,GPT,…)/File(\EFI\…), and from version 18 on HD(1,GPT,…)/\EFI\….
readonly entries_filter='[inputs | capture("^Boot(?<number>[0-9A-Fa-f]{4})(?<active>[* ]) (?<label>[^\t]*)(\t(?<path>.*))?$")
  | .active |= (. == "*") | .path //= ""
  | . + ((.path | capture("HD\\((?<n>\\d+),(?<kind>GPT|MBR),(?<id>[0-9a-fA-Fx-]+),[^)]*\\)/(File\\()?(?<loader>\\\\[^)]*?)(\\)|$)"))
    // {n: "", kind: "", id: "", loader: ""})
  | .id |= ascii_downcase]'

read_entries() { # sets entries, a JSON array, and order and next, numbers with commas between; fails if the firmware does not tell them
  local shown
  shown=$(LC_ALL=C efibootmgr --verbose 2>&1) || {
    firmware_says=$shown
    return 1
  }
  entries=$(jq -Rnc "$entries_filter" <<<"$shown")
  order=$(sed -n 's/^BootOrder: //p' <<<"$shown")
  next=$(sed -n 's/^BootNext: //p' <<<"$shown")
}

partition_ids() { # prints the GUID of every partition that this machine has, one a line
  local block
  for block in /sys/class/block/*; do
    [[ ! -e $block/partition && -b /dev/${block##*/} ]] || continue
    # Of a disk without a table partx says by its status no more than that.
    partx --raw --noheadings --output UUID "/dev/${block##*/}" 2>/dev/null || true
  done
}

choose_entries() { # sets right, the number of the entry that is wanted if there is one, and of those to remove stale, JSON, and stale_numbers
  local kind=GPT id ids chosen
  ids=$(partition_ids)
  id=${part_uuid[esp_number]}
  if [[ $table_label == dos ]]; then
    kind=MBR
    id=$table_id
  fi
  chosen=$(jq -r --arg name "$prefix$label" --arg n "$esp_number" --arg kind "$kind" --arg id "$id" --arg loader "${loader//\//\\}" \
    --arg prefix "$prefix" --arg prune "${PT_prune:-stale}" --arg ids "$ids" '
    ([.[] | select(.label == $name and .n == $n and .kind == $kind and .id == $id and .active
      and (.loader | ascii_downcase) == ($loader | ascii_downcase)).number][0] // "") as $right
    | ($ids | ascii_downcase | split("\n")) as $ids
    | [.[] | select(.number != $right)
       | if .label | startswith($prefix) then . + {why: "an earlier one of ours"}
         elif $prune == "stale" and .kind == "GPT" and (.id as $id | any($ids[]; . == $id) | not) then . + {why: "this machine has no such partition"}
         else empty end | {number, label: .label, path, why}] as $stale
    | $right, ($stale | tojson), ($stale | map(.number) | join(" "))' <<<"$entries")
  { read -r right && read -r stale && read -r stale_numbers; } <<<"$chosen" || true
}

remove_stale() { # sets pruned
  local number
  pruned=$stale
  [[ $stale == '[]' ]] || log "removing boot entries: $stale"
  for number in $stale_numbers; do
    efibootmgr --quiet --bootnum "$number" --delete-bootnum || log "Boot$number could not be removed"
  done
}

create_entry() { # fails with what the firmware says in firmware_says
  local said
  said=$(LC_ALL=C efibootmgr --create --disk "/dev/$disk" --part "$esp_number" --label "$prefix$label" --loader "${loader//\//\\}" 2>&1) && return
  firmware_says=$(tr '\n' ' ' <<<"$said")
  log "the firmware did not take the entry: $firmware_says"
  [[ $said == *'No space left'* ]] && clear_dumps || return 1
  create_again
}

create_again() {
  LC_ALL=C efibootmgr --quiet --create --disk "/dev/$disk" --part "$esp_number" --label "$prefix$label" --loader "${loader//\//\\}"
}

clear_dumps() { # makes room; sets cleared. Fails if there was nothing to clear
  local file
  for file in "$efivars/$dump"*; do
    [[ -e $file ]] || return 1
    chattr -i "$file" 2>/dev/null || true
    rm "$file" && cleared+=("${file##*/}")
  done
}

set_order() { # the entry that is wanted first, or last; the others as they were
  local others=,$order, wanted
  others=${others/,"$right",/,}
  others=${others#,}
  others=${others%,}
  if [[ ${PT_order:-first} == first ]]; then wanted=$right${others:+,$others}; else wanted=${others:+$others,}$right; fi
  [[ $wanted == "$order" ]] || efibootmgr --quiet --bootorder "$wanted"
}

is_in_place() { # succeeds if the entry that is wanted is where it shall be in the order
  if [[ ${PT_order:-first} == first ]]; then [[ ${order%%,*} == "$right" ]]; else [[ ${order##*,} == "$right" ]]; fi
}

nvram() { # prints what is known of the room for variables; kernels before 6.6 do not tell how much is free
  local used free=null
  used=$(find "$efivars" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }')
  (($(stat --file-system --format=%b "$efivars") == 0)) || free=$(($(stat --file-system --format='%a * %S' "$efivars")))
  printf '{"used":%d,"free":%s}' "$used" "$free"
}
