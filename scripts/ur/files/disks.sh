# shellcheck shell=bash
# Which disks there are, what stays the same about each of them over reboots, and which ones a hint means.
# From sysfs alone, so that a ramdisk without udev will do. It knows nothing of what is on a disk. Needs jq.

list_disks() { # prints the kernel's name of every block device that is a disk: drives, and files played by loop devices
  local block name
  for block in /sys/block/*; do
    name=${block##*/}
    # A namespace that is reached by several paths has a hidden device for each of them.
    [[ $(attribute "$name" hidden) != 1 ]] || continue
    # Floppies and optical drives (SCSI type 5) hold nothing of ours; stacks such as md and dm lie on disks.
    [[ $name != @(fd|sr)+([0-9]) && $name != mmcblk*(boot|rpmb)* && $(attribute "$name" device/type) != 5 ]] || continue
    [[ -e $block/device || -e $block/loop/backing_file ]] || continue
    (($(attribute "$name" size) > 0)) || continue
    printf '%s\n' "$name"
  done
}

attribute() { # <device> <file below its sysfs directory>: prints the first line, trimmed; nothing if there is none
  local line=
  read -r line 2>/dev/null <"/sys/class/block/$1/$2" || true
  printf '%s' "$line"
}

disk_class() { # <disk>: prints nvme, ata, scsi, mmc, virtual (a hypervisor's) or loop
  case $1 in
    nvme*) printf nvme ;;
    mmcblk*) printf mmc ;;
    loop*) printf loop ;;
    sd*) if [[ $(attribute "$1" device/vendor) == ATA ]]; then printf ata; else printf scsi; fi ;;
    *) printf virtual ;;
  esac
}

disk_serial() { # <disk>: prints its serial number; a file played by a loop device has its path for one
  local serial
  serial=$(attribute "$1" device/serial)
  [[ -n $serial ]] || serial=$(attribute "$1" serial)
  [[ -n $serial ]] || serial=$(attribute "$1" loop/backing_file)
  # SCSI's is a page of vital product data: four bytes of header, then text.
  [[ -n $serial ]] || serial=$({ tail -c +5 "/sys/class/block/$1/device/vpd_pg80" 2>/dev/null || true; } | tr -d '\0')
  read -r serial <<<"$serial"
  printf '%s' "$serial"
}

disk_wwn() { # <disk>: prints its world-wide name as lower-case hex digits, or nothing
  local wwn
  wwn=$(attribute "$1" wwid)
  [[ -n $wwn ]] || wwn=$(attribute "$1" device/wwid)
  # t10 names are made of model and serial: they are no number, and say nothing new.
  [[ $wwn != @(naa|eui|uuid).* ]] || printf '%s' "${wwn#*.}" | tr '[:upper:]' '[:lower:]'
}

disk_transport() { # <disk>: prints usb, sas, sata, nvme, virtio …, or nothing
  local path
  path=$(readlink -f "/sys/class/block/$1/device")
  case $1:$path in
    nvme*) printf '%s' "$(attribute "$1" device/transport)" ;;
    *:*/usb[0-9]*) printf usb ;;
    *:*/virtio[0-9]*) printf virtio ;;
    *:*/end_device-*) printf sas ;;
    *:*/ata[0-9]*) printf sata ;;
  esac
}

disk_links() { # <disk>: prints the stable names that udev gave it, one a line
  local link
  for link in /dev/disk/by-*/*; do
    if [[ $link -ef /dev/$1 ]]; then printf '%s\n' "$link"; fi
  done
}

disk_facts() { # <disk>: prints what is known of it as one JSON object, in the words of the hints
  local device
  device=$(readlink -f "/sys/class/block/$1/device")
  jq -cn --arg name "/dev/$1" --arg class "$(disk_class "$1")" --arg serial "$(disk_serial "$1")" \
    --arg wwn "$(disk_wwn "$1")" --arg model "$(attribute "$1" device/model)" \
    --arg vendor "$(attribute "$1" device/vendor)" --arg sectors "$(attribute "$1" size)" \
    --arg sector "$(attribute "$1" queue/logical_block_size)" --arg rotational "$(attribute "$1" queue/rotational)" \
    --arg tran "$(disk_transport "$1")" --arg hctl "${device##*/}" --arg links "$(disk_links "$1")" \
    --arg read_only "$(attribute "$1" ro)" --arg removable "$(attribute "$1" removable)" '
    ($links | split("\n")) as $links
    | {$name, $class, $serial, $wwn, $model, $vendor, $tran, $links,
       hctl: (if $hctl | test("^\\d+:\\d+:\\d+:\\d+$") then $hctl else "" end),
       by_path: ([$links[] | select(startswith("/dev/disk/by-path/"))][0] // ""),
       bytes: ($sectors | tonumber * 512), sector: ($sector | tonumber),
       rotational: ($rotational == "1"), read_only: ($read_only == "1"), removable: ($removable == "1")}'
}

# Ironic's root device hints: every key of a hint must match. A value may begin with an operator; without one it must be
# equal. `size` counts GiB, and `=` means "at least": both are Ironic's.
readonly hint_filter='
  def norm: tostring | ascii_downcase | gsub("^\\s+|\\s+$"; "");
  def wwn: norm | sub("^(0x|naa\\.|eui\\.|uuid\\.)"; "");
  def number($key): (tonumber? // error("hint \($key): \(.) is not a number"));
  def holds($operator; $want; $key):
    if $operator == "=" or $operator == ">=" then number($key) >= ($want | number($key))
    elif $operator == "==" then number($key) == ($want | number($key))
    elif $operator == "!=" then number($key) != ($want | number($key))
    elif $operator == ">" then number($key) > ($want | number($key))
    elif $operator == "<" then number($key) < ($want | number($key))
    elif $operator == "<=" then number($key) <= ($want | number($key))
    elif $operator == "s==" then . == $want
    elif $operator == "s!=" then . != $want
    elif $operator == "s<" then . < $want
    elif $operator == "s<=" then . <= $want
    elif $operator == "s>" then . > $want
    elif $operator == "s>=" then . >= $want
    elif $operator == "<in>" then contains($want)
    elif $operator == "<all-in>" then . as $have | all($want | splits("\\s+"); . as $part | $have | contains($part))
    elif $operator == "<or>" then . as $have | any($want | splits("\\s*<or>\\s*"); . == $have)
    else number($key) as $have
      | ($want | capture("^(?<open>[\\[(])\\s*(?<low>\\S+)\\s+(?<high>\\S+)\\s*(?<close>[\\])])$")
          // error("hint \($key): a range is written [ 1 2 ], ( 1 2 ] …"))
      | (.low | number($key)) as $low | (.high | number($key)) as $high
      | (if .open == "[" then $have >= $low else $have > $low end)
        and (if .close == "]" then $have <= $high else $have < $high end)
    end;
  def matches($key; $want):
    ($want | norm | capture("^(?<operator><(in|all-in|or|range-in)>|s(==|!=|<=|>=|<|>)|==|!=|<=|>=|=|<|>)\\s*(?<rest>.*)$")
      // {operator: (if $key == "size" then "==" else "s==" end), rest: ($want | norm)}) as $w
    | (if $key == "wwn" then $w.rest | wwn else $w.rest end) as $rest
    | if $key == "name" then [.name, (.name | ltrimstr("/dev/")), .links[]]
      elif $key == "size" then [(.bytes / 1073741824 | floor | tostring)]
      elif $key == "wwn" or $key == "wwn_with_extension" then [.wwn | wwn]
      elif $key | IN("serial", "model", "vendor", "hctl", "by_path", "tran", "rotational", "removable", "class") then [.[$key]]
      else error("hint \($key): there is no such hint") end
    | any(.[] | norm; holds($w.operator; $rest; $key));
  . as $disk | select(all($hint | to_entries[]; . as $h | $disk | matches($h.key; $h.value)))'

match_disks() { # <hint, a JSON object> <facts, one JSON object a line>: prints the facts of every disk it means
  local found
  [[ $1 == \{*:*\} ]] || fail ur/hint "a hint is an object with at least one key, not $1"
  found=$(jq -c --argjson hint "$1" "$hint_filter" <<<"$2" 2>&1) || fail ur/hint "hint $1 cannot be read: $found"
  [[ -n $found ]] || fail ur/hint "hint $1 means no disk of this node: there are $(disk_names "$2")"
  printf '%s\n' "$found"
}

one_disk() { # <hint> <facts>: prints the facts of the one disk it means; two are as wrong as none
  local found
  found=$(match_disks "$1" "$2")
  [[ $found != *$'\n'* ]] || fail ur/hint "hint $1 is ambiguous: it means $(disk_names "$found")"
  printf '%s\n' "$found"
}

disk_names() { # <facts>: prints them for a message: names and serials
  jq -rs 'map("\(.name) (\(if .serial == "" then "no serial" else .serial end))") | join(", ")' <<<"$1"
}
