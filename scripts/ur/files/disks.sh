# shellcheck shell=bash
# The disks of this node: which there are, what stays the same about each of them over reboots, and which ones a hint means.
# From sysfs alone, so that a ramdisk without udev will do. It knows nothing of what is on a disk. Needs ur.sh, and jq for hints.

declare -A facts=()     # of each disk that was read, by the kernel's name: JSON, in the words of the hints
declare -A disk_fact=() # the same one by one, by "<disk> <key>"

list_disks() { # prints the kernel's name of every block device of a piece of hardware that a disk may be, and of files played by loop devices
  local block name value
  for block in /sys/block/*; do
    name=${block##*/}
    # A namespace that is reached by several paths has a hidden device for each of them.
    read_attribute value "$name" hidden
    [[ $value != 1 ]] || continue
    # Floppies and optical drives (SCSI type 5) hold nothing of ours; stacks such as md and dm lie on disks.
    [[ $name != @(fd|sr)+([0-9]) && $name != mmcblk*(boot|rpmb)* ]] || continue
    read_attribute value "$name" device/type
    [[ $value != 5 && (-e $block/device || -e $block/loop/backing_file) ]] || continue
    read_attribute value "$name" size
    ((value > 0)) || continue
    printf '%s\n' "$name"
  done
}

read_attribute() { # <variable> <device> <file below its sysfs directory>: sets the variable to the first line, trimmed, or to nothing
  local -n ur_attribute=$1
  ur_attribute=
  read -r ur_attribute 2>/dev/null <"/sys/class/block/$2/$3" || true
}

attribute() { # <device> <file below its sysfs directory>: prints the first line, trimmed; nothing if there is none
  local line
  read_attribute line "$1" "$2"
  printf '%s' "$line"
}

# What is a drive is said here, by the names that kernels give: whatever else shows itself as a block device, such as a
# firmware's flash (mtdblock), a device of the network (nbd, rbd) or of memory (zram), is of the class "other".
disk_class() { # <disk>: prints nvme, ata, scsi, mmc, virtual (a hypervisor's, or of a driver of its own), loop or other
  case $1 in
    nvme*) printf nvme ;;
    mmcblk*) printf mmc ;;
    loop*) printf loop ;;
    sd*) if [[ $(attribute "$1" device/vendor) == ATA ]]; then printf ata; else printf scsi; fi ;;
    vd[a-z]* | xvd[a-z]* | hd[a-z]* | dasd[a-z]* | pmem[0-9]* | rssd[a-z]* | fio[a-z]* | skd[a-z]* | 'cciss!'*) printf virtual ;;
    *) printf other ;;
  esac
}

disk_serial() { # <disk>: prints its serial number; a file played by a loop device has its path for one
  local serial file
  for file in device/serial serial loop/backing_file; do
    read_attribute serial "$1" "$file"
    [[ -z $serial ]] || break
  done
  # SCSI's is a page of vital product data: four bytes of header, then text.
  [[ -n $serial ]] || serial=$({ tail -c +5 "/sys/class/block/$1/device/vpd_pg80" 2>/dev/null || true; } | tr -d '\0')
  read -r serial <<<"$serial"
  printf '%s' "$serial"
}

disk_wwn() { # <disk>: prints its world-wide name as lower-case hex digits, or nothing
  local wwn
  read_attribute wwn "$1" wwid
  [[ -n $wwn ]] || read_attribute wwn "$1" device/wwid
  # t10 names are made of model and serial: they are no number, and say nothing new.
  [[ $wwn == @(naa|eui|uuid).* ]] || return 0
  wwn=${wwn#*.}
  printf '%s' "${wwn,,}"
}

disk_transport() { # <disk> <path of its device>: prints usb, sas, sata, nvme, virtio …, or nothing
  case $1:$2 in
    nvme*) attribute "$1" device/transport ;;
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

read_disk() { # <disk>: sets what is known of it in facts and disk_fact
  local disk=$1 device key value sectors json='' links
  device=$(readlink -f "/sys/class/block/$disk/device")
  disk_fact["$disk name"]=/dev/$disk
  disk_fact["$disk class"]=$(disk_class "$disk")
  disk_fact["$disk serial"]=$(disk_serial "$disk")
  disk_fact["$disk wwn"]=$(disk_wwn "$disk")
  read_attribute value "$disk" device/model
  disk_fact["$disk model"]=$value
  read_attribute value "$disk" device/vendor
  disk_fact["$disk vendor"]=$value
  disk_fact["$disk tran"]=$(disk_transport "$disk" "$device")
  links=$(disk_links "$disk")
  disk_fact["$disk links"]=$links
  disk_fact["$disk hctl"]=
  [[ ! ${device##*/} =~ ^[0-9]+:[0-9]+:[0-9]+:[0-9]+$ ]] || disk_fact["$disk hctl"]=${device##*/}
  value=
  [[ ! $links =~ /dev/disk/by-path/[^$'\n']+ ]] || value=${BASH_REMATCH[0]}
  disk_fact["$disk by_path"]=$value
  read_attribute sectors "$disk" size
  disk_fact["$disk bytes"]=$((sectors * 512))
  read_attribute value "$disk" queue/logical_block_size
  disk_fact["$disk sector"]=$((value))
  read_flag "$disk" rotational queue/rotational
  read_flag "$disk" read_only ro
  read_flag "$disk" removable removable
  for key in name class serial wwn model vendor tran hctl by_path; do
    value=${disk_fact["$disk $key"]}
    keep_text value
    disk_fact["$disk $key"]=$value
    to_json value "$value"
    json+=,\"$key\":$value
  done
  for key in bytes sector rotational read_only removable; do json+=,\"$key\":${disk_fact["$disk $key"]}; done
  [[ -z $links ]] && links='[]' || links=$(json_strings <<<"$links")
  facts[$disk]="{${json#,},\"links\":$links}"
}

read_flag() { # <disk> <key> <file below its sysfs directory>: sets disk_fact to true or false
  local value
  read_attribute value "$1" "$3"
  if [[ $value == 1 ]]; then disk_fact["$1 $2"]=true; else disk_fact["$1 $2"]=false; fi
}

keep_text() { # <variable>: takes out of it what JSON cannot hold: firmware has been seen to name itself in bytes of all kinds
  local -n ur_kept=$1
  ur_kept=${ur_kept//[[:cntrl:]]/}
  [[ $ur_kept != *[!\ -~]* ]] || ur_kept=$(jq -Rr . <<<"$ur_kept")
}

reread_table() { # <disk>: has the kernel show its partitions as they are in the table now
  # Without a range partx looks at as many numbers as there are partitions, and does not see 14 and 15 of three.
  # An old partition that overlaps a new one is only gone after the first round, and partx does not say that it was in the way.
  partx --update --nr 1:256 "/dev/$1" && partx --update --nr 1:256 "/dev/$1"
}

disk_facts() { # <disk>: prints what is known of it as one JSON object, in the words of the hints
  read_disk "$1"
  printf '%s\n' "${facts[$1]}"
}

# Ironic's root device hints: every key of a hint must match. A value may begin with an operator; without one it must be
# equal. `size` counts GiB, and `=` means "at least": both are Ironic's.
readonly hint_filter='
  def norm: tostring | ascii_downcase | gsub("^\\s+|\\s+$"; "");
  def wwn: norm | sub("^(0x|naa\\.|eui\\.|uuid\\.)"; "");
  def boolean($key): . as $said
    | if any("true", "yes", "on", "y", "t", "1"; . == $said) then "true"
      elif any("false", "no", "off", "n", "f", "0"; . == $said) then "false"
      else error("hint \($key): \(.) is neither true nor false") end;
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
    | (if $key == "wwn" then $w.rest | wwn elif $key == "rotational" or $key == "removable" then $w.rest | boolean($key)
       else $w.rest end) as $rest
    | if $key == "name" then [.name, (.name | ltrimstr("/dev/")), .links[]]
      elif $key == "size" then [(.bytes / 1073741824 | floor | tostring)]
      elif $key == "wwn" or $key == "wwn_with_extension" then [.wwn | wwn]
      elif $key == "by_path" then [.by_path, (.links[] | select(startswith("/dev/disk/by-path/")))]
      elif any("serial", "model", "vendor", "hctl", "tran", "rotational", "removable", "class"; . == $key) then [.[$key]]
      else error("hint \($key): there is no such hint") end
    # Of several names one must match, and none must be what the disk must not be called.
    | if $w.operator == "!=" or $w.operator == "s!=" then all(.[] | norm; holds($w.operator; $rest; $key))
      else any(.[] | norm; holds($w.operator; $rest; $key)) end;
  def is_meant($hint): . as $disk | all($hint | to_entries[]; . as $h | $disk | matches($h.key; $h.value));
  def names: map("\(.name) (\(if .serial == "" then "no serial" else .serial end))") | join(", ");
  def meant($hint; $disks): ($hint | tojson) as $text
    | if ($hint | type) != "object" or $hint == {} then "!a hint is an object with at least one key, not \($text)" else
        (try [$disks[] | select(is_meant($hint))] catch "!hint \($text) cannot be read: \(.)") as $found
        | if ($found | type) == "string" then $found
          elif $found == [] then "!hint \($text) means no disk of this node: there are \($disks | names)"
          else $found[] | "\($text)\t\(.name | ltrimstr("/dev/"))\t\(tojson)" end
      end;
  [inputs] as $disks | $hints[] as $hint | meant($hint; $disks)'

match_hints() { # <hints, a JSON array> <facts, one JSON object a line>: prints hint, disk and the disk's facts, with tabs between, for every disk that each means
  local found
  found=$(jq -nr --argjson hints "$1" "$hint_filter" <<<"$2" 2>&1) || fail ur/hint "hint $1 cannot be read: $found"
  # Of several the first is told.
  if [[ $'\n'$found == *$'\n!'* ]]; then
    found=${found#*!}
    fail ur/hint "${found%%$'\n'*}"
  fi
  printf '%s\n' "$found"
}

match_disks() { # <hint, a JSON object> <facts, one JSON object a line>: prints the facts of every disk it means
  local found
  found=$(match_hints "[$1]" "$2")
  cut -f 3- <<<"$found"
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
