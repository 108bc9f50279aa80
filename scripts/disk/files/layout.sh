# shellcheck shell=bash
# What a layout wants, and what of it is there. It looks and never writes. Everything in a layout has a name: a disk or
# partition or array its own, a logical volume GROUP/VOLUME; what lies on others refers to them so. Each *_state prints
# "right", "absent", or in words how the thing differs. Of what lies on an array or group that is there and not started,
# as after a boot, nobody can say whether it is there: survey calls that "hidden".

declare -A disk_of=() # of each disk that the layout names: the kernel's name

readonly layout_normaliser='
  def bytes: if type == "number" then . elif . == "rest" then null else
      capture("^(?<n>\\d+)(?<unit>[KMGT])$") // error("\(.) is no size: sizes are like 512M, 40G or rest")
      | (.n | tonumber) * ({K: 1024, M: 1048576, G: 1073741824, T: 1099511627776}[.unit]) end;
  {esp: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", bios: "21686148-6449-6e6f-744e-656564454649",
   swap: "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", raid: "a19d880f-05fc-4d3b-a006-743f0f84911e",
   lvm: "e6d6d379-f507-44c2-a23c-238f2a3df928", zfs: "6a898cc3-1dd2-11b2-99a6-080020736631",
   linux: "0fc63daf-8483-4772-8e79-3d69d8477de4"} as $types
  | {disks: {}, partitions: [], arrays: [], groups: [], pools: [], filesystems: []} * .
  | .partitions[] |= (.size |= bytes | .type |= ($types[. // "linux"] // error("\(.) is no type of partition: \($types | keys)")))
  | .groups[].volumes[] |= (.size |= bytes)
  | ((.disks | keys) + [.partitions[].name, .arrays[].name] + [.groups[] | .name as $g | .volumes[] | "\($g)/\(.name)"]) as $names
  | ($names | group_by(.) | map(select(length > 1)[0])) as $twice
  | ([.partitions[].disk, (.arrays[], .groups[], .pools[].vdevs[] | .on[]), .filesystems[].on] - $names) as $missing
  | if $twice != [] then error("it has two things named \($twice[0])")
    elif $missing != [] then error("something lies on \($missing[0]), which it does not have") else . end'

read_layout() { # <JSON>: sets layout, normalised: every key there, sizes in bytes or null for the rest, types as GUIDs
  layout=$(jq -c "$layout_normaliser" <<<"$1" 2>&1) || fail disk/layout "the layout cannot be read: $layout"
}

need_for_layout() { # the programs that it takes, and a kernel that can mount it
  local kind name type
  while IFS=$'\t' read -r kind name; do
    case $kind in
      array) need mdadm ;;
      group) need vgcreate:lvm2 ;;
      pool)
        need zpool:zfsutils-linux
        # Where there was no pool when the machine booted, nothing has loaded the module.
        export ZFS_MODULE_LOADING=yes
        ;;
    esac
  done < <(things)
  for type in $(want '[.filesystems[] | select(.mount).type] | unique[]'); do
    grep -qw "$type" /proc/filesystems || modprobe --quiet "$type" \
      || fail disk/refused "nothing was written: the kernel of this node cannot mount $type"
  done
  for type in $(want '[.filesystems[].type] | unique[]'); do
    case $type in
      ext4) need mkfs.ext4:e2fsprogs ;;
      xfs) need mkfs.xfs:xfsprogs ;;
      btrfs) need mkfs.btrfs:btrfs-progs ;;
      vfat) need mkfs.vfat:dosfstools ;;
      swap) need mkswap:util-linux ;;
      *) fail disk/layout "there is no file system $type: there are ext4, xfs, btrfs, vfat and swap" ;;
    esac
  done
}

want() { # <jq filter> [<argument for jq>…]: prints a part of the layout, one a line
  jq -r "$@" <<<"$layout"
}

resolve_disks() { # sets disk_of: a hint must mean one disk, and no two the same
  local all name hint found
  choose_disks '[]' '[]'
  targets=()
  untouched=()
  all=$(printf '%s\n' "${facts[@]}")
  while IFS=$'\t' read -r name hint; do
    found=$(one_disk "$hint" "$all")
    found=$(names_in "$found")
    [[ " ${disk_of[*]} " != *" $found "* ]] || fail disk/layout "two disks of the layout are both /dev/$found"
    disk_of[$name]=$found
  done < <(want '.disks | to_entries[] | "\(.key)\t\(.value | tojson)"')
}

device_of() { # <name in the layout>: prints its device's path, or nothing if it is not there
  local disk number mapped=${1//-/--}
  if [[ -n ${disk_of[$1]:-} ]]; then
    printf '/dev/%s' "${disk_of[$1]}"
  elif [[ $1 == */* ]]; then
    # The name that device mapper gives it, with every dash of its own doubled.
    [[ ! -e /dev/mapper/${mapped/\//-} ]] || printf '/dev/mapper/%s' "${mapped/\//-}"
  elif disk=$(want '.partitions[] | select(.name == $n) | .disk' --arg n "$1") && [[ -n $disk ]]; then
    number=$(want '[.partitions[] | select(.disk == $d).name] | index($n) + 1' --arg d "$disk" --arg n "$1")
    disk=${disk_of[$disk]}
    [[ $disk != *[0-9] ]] || disk+=p
    [[ ! -b /dev/$disk$number ]] || printf '/dev/%s' "$disk$number"
  else
    array_device "$1"
  fi
}

array_device() { # <name>: prints the running array of that name, whatever its number is this time
  local block
  for block in /sys/block/md*; do
    [[ -e $block/md ]] || continue
    ! mdadm --detail --export "/dev/${block##*/}" | grep -qE "^MD_NAME=(.*:)?$1\$" || printf '/dev/%s' "${block##*/}"
  done
}

devices() { # <name>…: prints their devices, one a line; a name whose device is not there is left out
  local name device
  for name; do
    device=$(device_of "$name")
    [[ -z $device ]] || printf '%s\n' "$device"
  done
}

signature() { # <device> [<tag>]: prints the type of what is on it; nothing if it is blank, "unclear" if nobody can say
  local status=0 found
  found=$(blkid --probe --output value --match-tag "${2:-TYPE}" "$1") || status=$?
  case $status in
    0) printf '%s' "$found" ;;
    # blkid says 2 of a blank device, of one without this tag, and of one that cannot be read.
    2) is_readable "$1" && { blkid --probe "$1" >/dev/null || [[ -z $(wipefs --noheadings "$1") ]]; } || printf unclear ;;
    *) printf unclear ;;
  esac
}

is_readable() { # <device>
  head -c 4096 "$1" >/dev/null && tail -c 4096 "$1" >/dev/null
}

holding() { # <device>: prints what would be lost if it were built on: on a whole disk, that may be a partition table
  local found
  found=$(signature "$1")
  [[ -n $found || " ${disk_of[*]} " != *" ${1#/dev/} "* ]] || found=$(signature "$1" PTTYPE)
  printf '%s' "$found"
}

table_state() { # <disk's name>
  local disk=/dev/${disk_of[$1]} wanted
  wanted=$(want -c '[.partitions[] | select(.disk == $d) | {name, type, size}]' --arg d "$1")
  if [[ $wanted == '[]' ]]; then
    printf right
  elif [[ -n $(signature "$disk") ]]; then
    printf 'it holds %s' "$(signature "$disk")"
  elif [[ -z $(signature "$disk" PTTYPE) ]]; then
    printf absent
  else
    sfdisk --json "$disk" | jq -r --argjson wanted "$wanted" '
      .partitiontable | (.sectorsize // 512) as $sector
      | [.partitions[]? | {name: (.name // ""), type: (.type | ascii_downcase), size: (.size * $sector)}] as $is
      | def said: map("\(.name) \(.size // "rest") \(.type)") | join(", ");
        if ($is | length) == ($wanted | length) and all(range($is | length); . as $i | $wanted[$i] as $w
          | $is[$i] | .name == $w.name and .type == $w.type and (.size == ($w.size // .size))) then "right"
        else "its partitions are: \($is | said); wanted: \($wanted | said)" end'
  fi
}

array_state() { # <name>
  local member wanted seen='' members
  mapfile -t members < <(want '.arrays[] | select(.name == $n) | .on[]' --arg n "$1")
  wanted="level $(want '.arrays[] | select(.name == $n) | .level' --arg n "$1") of ${#members[@]}"
  for member in $(devices "${members[@]}"); do
    if [[ $(signature "$member") == linux_raid_member ]]; then
      seen+=$(mdadm --examine --export "$member" | awk -F = '{ is[$1] = $2 } END {
        sub(/.*:/, "", is["MD_NAME"]); print is["MD_NAME"] " level " is["MD_LEVEL"] " of " is["MD_DEVICES"] " " is["MD_UUID"] }')$'\n'
    else
      seen+=$(holding "$member")$'\n'
    fi
  done
  layered_state "$seen" "$1 $wanted [0-9a-f:]+" "${#members[@]}"
}

group_state() { # <name>
  local member seen='' members
  mapfile -t members < <(want '.groups[] | select(.name == $n) | .on[]' --arg n "$1")
  for member in $(devices "${members[@]}"); do
    if [[ $(signature "$member") == LVM2_member ]]; then
      seen+="group $(pvs --noheadings --options vg_name "$member" | tr -d ' ')"$'\n'
    else
      seen+=$(holding "$member")$'\n'
    fi
  done
  layered_state "$seen" "group $1" "${#members[@]}"
}

layered_state() { # <what each member holds, one a line> <regular expression for right> <how many members>
  if [[ -z ${1//[[:space:]]/} ]]; then
    printf absent
  # All of them, and all the same: members of one array or group.
  elif (($(grep -cxE "$2" <<<"$1") == $3 && $(sort -u <<<"${1%$'\n'}" | wc -l) == 1)); then
    printf right
  else
    printf 'what it lies on holds: %s' "$(tr '\n' ';' <<<"${1%$'\n'}")"
  fi
}

volume_state() { # <group/volume>
  local size wanted extent
  size=$(lvs --noheadings --units b --nosuffix --options lv_size "$1" 2>/dev/null | tr -d ' ') || true
  wanted=$(want '.groups[] | .name as $g | .volumes[] | select("\($g)/\(.name)" == $n) | .size // ""' --arg n "$1")
  extent=$(vgs --noheadings --units b --nosuffix --options vg_extent_size "${1%/*}" 2>/dev/null | tr -d ' ') || true
  if [[ -z $size ]]; then
    printf absent
  elif [[ -z $wanted ]] || ((size >= wanted && size < wanted + extent)); then
    printf right
  else
    printf 'it has %d bytes; wanted: %d' "$size" "$wanted"
  fi
}

pool_state() { # <name>
  local member wanted seen
  wanted=$(want '.pools[] | select(.name == $n) | .vdevs[].on[]' --arg n "$1" | while read -r member; do devices "$member"; done | sort)
  if seen=$(zpool status -LP "$1" 2>/dev/null); then
    seen=$(awk '$1 ~ "^/dev/" { print $1 }' <<<"$seen" | sort)
    if [[ $seen == "$wanted" ]]; then printf right; else printf 'it lies on %s' "${seen//$'\n'/ }"; fi
  else
    seen=$(for member in $wanted; do printf '%s %s\n' "$(holding "$member")" "$(signature "$member" LABEL)"; done | sort -u)
    case $seen in
      '' | ' ') printf absent ;;
      # It is there, and start_pool imports it.
      "zfs_member $1") printf right ;;
      *) printf 'what it lies on holds: %s' "${seen//$'\n'/ }" ;;
    esac
  fi
}

filesystem_state() { # <name of what it is on>
  local device wanted is
  device=$(device_of "$1")
  [[ -n $device ]] || { printf absent && return; }
  wanted=$(want '.filesystems[] | select(.on == $n) | "\(.type) \(.label // "")"' --arg n "$1")
  is="$(holding "$device") "
  # A label that is not wanted in particular may be any.
  [[ $wanted == *' ' ]] || is+=$(signature "$device" LABEL)
  case $is in
    "$wanted") printf right ;;
    ' ') printf absent ;;
    *) printf 'it holds %s; wanted: %s' "$is" "$wanted" ;;
  esac
}

mount_state() { # <name of what is mounted>
  local point device
  point=$target$(want '.filesystems[] | select(.on == $n) | .mount' --arg n "$1")
  device=$(device_of "$1")
  if [[ ! -d $point ]] || ! mountpoint --quiet "$point"; then
    printf absent
  elif [[ -n $device && $(mountpoint --fs-devno "$point") == "$(mountpoint --devno "$device")" ]]; then
    printf right
  else
    printf 'something else is mounted on %s' "$point"
  fi
}

survey() { # sets state, by kind and name, of everything that the layout wants
  local kind name
  declare -gA state=()
  while IFS=$'\t' read -r kind name; do
    state["$kind $name"]=$("${kind}_state" "$name")
    if [[ ${state["$kind $name"]} == absent && $kind != mount ]] && lies_on_hidden "$kind" "$name"; then
      state["$kind $name"]=hidden
    fi
  done < <(things)
}

lies_on_hidden() { # <kind> <name>: succeeds if something that it lies on is there, but not to be seen before it is started
  local below
  if [[ $1 == volume ]]; then
    [[ ${state["group ${2%/*}"]} == hidden ]]
    return
  fi
  while read -r below; do
    case ${state["array $below"]:-${state["volume $below"]:-absent}} in
      hidden) return 0 ;;
      right) [[ -n $(device_of "$below") ]] || return 0 ;;
    esac
  done < <(want --arg k "$1" --arg n "$2" 'if $k == "filesystem" then $n elif $k == "array" then .arrays[] | select(.name == $n).on[]
    elif $k == "group" then .groups[] | select(.name == $n).on[] elif $k == "pool" then .pools[] | select(.name == $n).vdevs[].on[]
    else empty end')
  return 1
}

things() { # prints kind and name of everything that the layout wants, what lies below first
  want '(.disks | keys[] | "table\t\(.)"), (.arrays[] | "array\t\(.name)"),
    (.groups[] | .name as $g | "group\t\($g)", (.volumes[] | "volume\t\($g)/\(.name)")),
    (.pools[] | "pool\t\(.name)"), (.filesystems[] | "filesystem\t\(.on)"),
    (.filesystems | map(select(.mount)) | sort_by(.mount)[] | "mount\t\(.on)")'
}

disks_under() { # <kind> <name>: prints the kernel's names of the disks that it lies on
  local below
  [[ $1 != table ]] || { printf '%s\n' "${disk_of[$2]}" && return; }
  want --arg k "$1" --arg n "$2" '. as $l
    | def under($n):
        if $l.disks[$n] then $n
        else ($l.partitions[] | select(.name == $n).disk), ($l.arrays[] | select(.name == $n).on[] | under(.)),
          ($l.groups[] | select(.name == ($n | split("/")[0]) and ($n | contains("/"))).on[] | under(.)) end;
      [if $k == "group" then .groups[] | select(.name == $n).on[] | under(.)
       elif $k == "pool" then .pools[] | select(.name == $n).vdevs[].on[] | under(.)
       else under($n) end] | unique[]' | while read -r below; do printf '%s\n' "${disk_of[$below]}"; done
}
