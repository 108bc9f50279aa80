# shellcheck shell=bash
# A layout: what it wants, and what of that is there. It looks and never writes. Everything in a layout has a name: a disk or
# partition or array its own, a logical volume GROUP/VOLUME; what lies on others refers to them so. Each *_state prints
# "right", "absent", or in words how the thing differs. Of what lies on an array or group that is there and not started,
# as after a boot, no program can say whether it is there: survey calls that "hidden".

declare -A wanted=()   # what the layout wants, by "<what> <name>", as layout_index has it
declare -A disk_of=()  # of each disk that the layout names: the kernel's name
declare -A table_is=() # of each disk that the layout names: the state of its table

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
  | .groups[] |= (.volumes = [.volumes[]? | .size |= bytes])
  | ((.disks | keys) + [.partitions[].name, .arrays[].name] + [.groups[] | .name as $g | .volumes[] | "\($g)/\(.name)"]) as $names
  | ($names | group_by(.) | map(select(length > 1)[0])) as $twice
  | ([.arrays[], .groups[], .pools[].vdevs[] | .on[]] + [.filesystems[].on]) as $used
  | ([.partitions[].disk] + $used - $names) as $missing
  | def twice: group_by(.) | map(select(length > 1)[0])[0] // empty;
    def rest_before_last: [.[].size] | (index([null]) // length) < length - 1;
  [([.. | strings | select(test("[[:cntrl:]]")) | "\(tojson) has a control character"]),
   ([(.groups, .pools)[] | .name] | [twice | "it has two things named \(.)"]),
   (([.partitions[].disk] | unique) + $used | [twice | "two things lie on \(.)"]),
   ([.filesystems[].mount // empty | sub("(?<x>.)/+$"; "\(.x)")] | [twice | "two file systems are mounted on \(.)"]),
   [.filesystems[].mount // empty | select(split("/") | any(. == ".." or . == ".")) | "\(.) is no mount point: it has . or .. in it"],
   [.partitions | group_by(.disk)[] | select(length > 128) | "disk \(.[0].disk) has more than 128 partitions"],
   [(.partitions | group_by(.disk)[] | select(rest_before_last) | "disk \(.[0].disk)"),
    (.groups[] | select(.volumes | rest_before_last) | "group \(.name)") | "\(.): what takes the rest must be the last"]] as $faults
  | if $twice != [] then error("it has two things named \($twice[0])")
    elif $missing != [] then error("something lies on \($missing[0]), which it does not have")
    elif ($faults | add) != [] then error($faults | add | join("; ")) else . end'

# One line for each thing to know: what, a space and the name it is of; a tab; a value. What has several values has several lines.
readonly layout_index='
  . as $layout
  | def on($what; $name): "\($what) \($name)\t\(.)";
    def under($n): if $layout.disks[$n] then $n else
      ($layout.partitions[] | select(.name == $n).disk), ($layout.arrays[] | select(.name == $n).on[] | under(.)),
      ($layout.groups[] | select(.name == ($n | split("/")[0]) and ($n | contains("/"))).on[] | under(.)) end;
  ([.filesystems[] | select(.mount)] | sort_by(.mount)) as $mounts
  | ([.disks | keys[] | ["table", .]] + [.arrays[] | ["array", .name]]
     + [.groups[] | ["group", .name], (.name as $g | .volumes[] | ["volume", "\($g)/\(.name)"])]
     + [.pools[] | ["pool", .name]] + [.filesystems[] | ["filesystem", .on]] + [$mounts[] | ["mount", .on]]) as $things
  | ($things[] | "things\t\(.[0])\t\(.[1])"),
    ($things[] | .[0] as $kind | .[1] as $n
      | [if $kind == "group" then $layout.groups[] | select(.name == $n).on[] | under(.)
         elif $kind == "pool" then $layout.pools[] | select(.name == $n).vdevs[].on[] | under(.)
         else under($n) end] | unique[] | on("disks under \($kind)"; $n)),
    (.disks | keys[] | "disks\t\(.)"), "hints\t\([.disks | keys[] as $n | .[$n]] | tojson)",
    (.disks | to_entries[] | .key as $d | (.value | tojson | on("hint of"; $d)),
      ([$layout.partitions[] | select(.disk == $d)]
        | (map({name, type, size}) | tojson | on("table of"; $d)),
          ("label: gpt", (.[] | "name=\"\(.name)\", type=\(.type)" + if .size then ", size=\(.size / 1024 | floor)KiB" else "" end) | on("script of"; $d)),
          (to_entries[] | (.value.name | on("partitions of"; $d)), (.value.name as $n | ($d | on("disk of"; $n)), (.key + 1 | on("number of"; $n)))))),
    (.arrays[] | .name as $n | .on[] | on("array members of"; $n)), (.groups[] | .name as $n | .on[] | on("group members of"; $n)),
    (.arrays[] | .name as $n | .level | on("level of"; $n)),
    (.partitions[] | select(.size) | .name as $n | .size | on("size of"; $n)),
    (.groups[] | .name as $g | .volumes[] | select(.size) | "\($g)/\(.name)" as $n | .size | on("size of"; $n)),
    (.pools[] | .name as $n | (.vdevs[].on[] | on("pool members of"; $n)),
      ((.properties // {}) | to_entries[] | "-O", "\(.key)=\(.value)" | on("options of"; $n)),
      (.vdevs[] | (.type // empty | "type \(.)"), (.on[] | "on \(.)") | on("vdevs of"; $n)),
      (.datasets[]? | "\($n)/\(.name)" as $d | $d, ((.properties // {}) | to_entries[] | "\($d)\t\(.key)\t\(.value)") | on("datasets of"; $n))),
    (.filesystems[] | .on as $n | to_entries[] | select(.key != "on") | .key as $key | .value | on("filesystem \($key)"; $n)),
    ([.filesystems[].type] | unique[] | "types\t\(.)"), ([$mounts[].type] | unique[] | "types to mount\t\(.)"),
    ([.filesystems[] | select(.mount or .type == "swap")] | sort_by(.mount // "")[] | [.on, .mount // "none", .type,
      .options // "defaults", if .mount == "/" then 1 elif .type == "ext4" then 2 else 0 end] | "fstab\t\(map(tostring) | join("\t"))")'

read_layout() { # <JSON>: sets wanted
  local lines what value
  lines=$(jq -r "$layout_normaliser | $layout_index" <<<"$1" 2>&1) || fail disk/layout "the layout cannot be read: $lines"
  while IFS=$'\t' read -r what value; do
    wanted[$what]+=${wanted[$what]:+$'\n'}$value
  done <<<"$lines"
}

want() { # <what> [<name>]: prints what the layout has there, one a line
  local value=${wanted["$1${2:+ $2}"]:-}
  [[ -z $value ]] || printf '%s\n' "$value"
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
  done < <(want things)
  for type in $(want 'types to mount'); do
    grep -qw "$type" /proc/filesystems || modprobe --quiet "$type" \
      || fail disk/refused "nothing was written: the kernel of this node cannot mount $type"
  done
  for type in $(want types); do
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

resolve_disks() { # sets disk_of: a hint must mean one disk, and no two the same
  local name hint found matches
  local -A meant=()
  choose_disks '[]' '[]'
  targets=()
  untouched=()
  [[ -n ${wanted[disks]:-} ]] || return 0
  matches=$(match_hints "${wanted[hints]}" "$(printf '%s\n' "${facts[@]}")")
  while IFS=$'\t' read -r hint found _; do
    [[ " ${meant[$hint]:-} " == *" $found "* ]] || meant[$hint]+=${meant[$hint]:+ }$found
  done <<<"$matches"
  while read -r name; do
    hint=${wanted["hint of $name"]}
    found=${meant[$hint]}
    [[ $found != *' '* ]] || fail ur/hint "hint $hint is ambiguous: it means ${found// /, }"
    [[ " ${disk_of[*]} " != *" $found "* ]] || fail disk/layout "two disks of the layout are both /dev/$found"
    disk_of[$name]=$found
  done < <(want disks)
}

device_of() { # <name in the layout>: prints its device's path, or nothing if it is not there
  local disk mapped=${1//-/--}
  if [[ -n ${disk_of[$1]:-} ]]; then
    printf '/dev/%s' "${disk_of[$1]}"
  elif [[ $1 == */* ]]; then
    # The name that device mapper gives it, with every dash of its own doubled.
    [[ ! -e /dev/mapper/${mapped/\//-} ]] || printf '/dev/mapper/%s' "${mapped/\//-}"
  elif [[ -n ${wanted["disk of $1"]:-} ]]; then
    disk=${disk_of[${wanted["disk of $1"]}]}
    [[ $disk != *[0-9] ]] || disk+=p
    disk+=${wanted["number of $1"]}
    [[ ! -b /dev/$disk ]] || printf '/dev/%s' "$disk"
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

signature() { # <device> [<tag>]: prints the type of what is on it; nothing if it is blank, "unclear" if it has more than one signature
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

read_tables() { # sets table_is: one jq compares all tables that are there
  local name disk held tables='' states state
  table_is=()
  while read -r name; do
    disk=/dev/${disk_of[$name]}
    if [[ ${wanted["table of $name"]} == '[]' ]]; then
      table_is[$name]=right
      continue
    fi
    held=$(signature "$disk")
    if [[ -n $held ]]; then
      table_is[$name]="it holds $held"
    elif [[ -z $(signature "$disk" PTTYPE) ]]; then
      table_is[$name]=absent
    else
      tables+=$name$'\t'${wanted["table of $name"]}$'\t'$(sfdisk --json "$disk" | tr '\n\t' '  ')$'\n'
    fi
  done < <(want disks)
  [[ -n $tables ]] || return 0
  states=$(jq -Rr 'select(. != "") | split("\t") | .[0] as $name | (.[1] | fromjson) as $wanted | .[2] | fromjson
    | .partitiontable | (.sectorsize // 512) as $sector
    | [.partitions[]? | {number: (.node | capture("(?<n>[0-9]+)$").n | tonumber), name: (.name // ""), type: (.type | ascii_downcase), size: (.size * $sector)}] as $is
    | def said: (if all(to_entries[]; .value.number == null or .value.number == .key + 1) then . else map(.name = "number \(.number) \(.name)") end)
        | map("\(.name) \(.size // "rest") \(.type)") | join(", ");
      "\($name)\t\(
        if ($is | length) == ($wanted | length) and all(range($is | length); . as $i | $wanted[$i] as $w
          | $is[$i] | .number == $i + 1 and .name == $w.name and .type == $w.type and (.size == ($w.size // .size))) then "right"
        else "its partitions are: \($is | said); wanted: \($wanted | said)" end)"' <<<"$tables")
  while IFS=$'\t' read -r name state; do table_is[$name]=$state; done <<<"$states"
}

table_state() { # <disk's name>: as read_tables found it
  printf '%s' "${table_is[$1]}"
}

array_state() { # <name>
  local member seen='' members
  mapfile -t members < <(want 'array members of' "$1")
  for member in $(devices "${members[@]}"); do
    if [[ $(signature "$member") == linux_raid_member ]]; then
      seen+=$(mdadm --examine --export "$member" | awk -F = '{ is[$1] = $2 } END {
        sub(/.*:/, "", is["MD_NAME"]); print is["MD_NAME"] " level " is["MD_LEVEL"] " of " is["MD_DEVICES"] " " is["MD_UUID"] }')$'\n'
    else
      seen+=$(holding "$member")$'\n'
    fi
  done
  layered_state "$seen" "$1 level ${wanted["level of $1"]} of ${#members[@]} [0-9a-f:]+" "${#members[@]}"
}

group_state() { # <name>
  local member seen='' members
  mapfile -t members < <(want 'group members of' "$1")
  for member in $(devices "${members[@]}"); do
    if [[ $(signature "$member") == LVM2_member ]]; then
      seen+="group $(pvs --noheadings --options vg_name "$member" | tr -d ' ')"$'\n'
    else
      seen+=$(holding "$member")$'\n'
    fi
  done
  layered_state "$seen" "group ${1//./\\.}" "${#members[@]}"
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
  local size extent least=${wanted["size of $1"]:-}
  size=$(lvs --noheadings --units b --nosuffix --options lv_size "$1" 2>/dev/null | tr -d ' ') || true
  extent=$(vgs --noheadings --units b --nosuffix --options vg_extent_size "${1%/*}" 2>/dev/null | tr -d ' ') || true
  if [[ -z $size ]]; then
    printf absent
  elif [[ -z $least ]] || ((size >= least && size < least + extent)); then
    printf right
  else
    printf 'it has %d bytes; wanted: %d' "$size" "$least"
  fi
}

pool_state() { # <name>
  local member on seen
  on=$(want 'pool members of' "$1" | while read -r member; do devices "$member"; done | sort)
  if seen=$(zpool status -LP "$1" 2>/dev/null); then
    seen=$(awk '$1 ~ "^/dev/" { print $1 }' <<<"$seen" | sort)
    if [[ $seen == "$on" ]]; then printf right; else printf 'it lies on %s' "${seen//$'\n'/ }"; fi
  else
    seen=$(for member in $on; do printf '%s %s\n' "$(holding "$member")" "$(signature "$member" LABEL)"; done | sort -u)
    case $seen in
      '' | ' ') printf absent ;;
      # It is there, and start_pool imports it.
      "zfs_member $1") printf right ;;
      *) printf 'what it lies on holds: %s' "${seen//$'\n'/ }" ;;
    esac
  fi
}

filesystem_state() { # <name of what it is on>
  local device label=${wanted["filesystem label $1"]:-} is right
  device=$(device_of "$1")
  [[ -n $device ]] || { printf absent && return; }
  right="${wanted["filesystem type $1"]} $label"
  is="$(holding "$device") "
  # A label that is not wanted in particular may be any.
  [[ -z $label ]] || is+=$(signature "$device" LABEL)
  case $is in
    "$right") printf right ;;
    ' ') printf absent ;;
    *) printf 'it holds %s; wanted: %s' "$is" "$right" ;;
  esac
}

mount_state() { # <name of what is mounted>
  local point=$target${wanted["filesystem mount $1"]} device
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
  read_tables
  while IFS=$'\t' read -r kind name; do
    state["$kind $name"]=$("${kind}_state" "$name")
    if [[ ${state["$kind $name"]} == absent && $kind != mount ]] && lies_on_hidden "$kind" "$name"; then
      state["$kind $name"]=hidden
    fi
  done < <(want things)
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
  done < <(case $1 in
    filesystem) printf '%s\n' "$2" ;;
    array | group | pool) want "$1 members of" "$2" ;;
  esac)
  return 1
}

disks_under() { # <kind> <name>: prints the kernel's names of the disks that it lies on
  local below
  want "disks under $1" "$2" | while read -r below; do printf '%s\n' "${disk_of[$below]}"; done
}
