# shellcheck shell=bash
# Builds what a layout wants and is not there yet. What is there and right is not touched. Needs layout.sh.

build() { # builds all that state calls absent, from below
  local kind name
  while IFS=$'\t' read -r kind name; do
    # What lies on the thing may have been hidden until now: an array that only had to be started shows a file system.
    [[ ${state["$kind $name"]} == right ]] || state["$kind $name"]=$("${kind}_state" "$name")
    if [[ ${state["$kind $name"]} == absent ]]; then
      log "$kind $name: making it"
      "make_$kind" "$name"
      made+=("$kind $name")
    else
      [[ ${state["$kind $name"]} == right ]] || fail disk/conflict "$kind $name: ${state["$kind $name"]}"
    fi
    ! declare -F "start_$kind" >/dev/null || "start_$kind" "$name"
  done < <(things)
}

make_table() { # <disk's name>
  local disk=/dev/${disk_of[$1]} script name
  script=$(want '"label: gpt", (.partitions[] | select(.disk == $d)
    | "name=\"\(.name)\", type=\(.type)" + if .size then ", size=\(.size / 1024 | floor)KiB" else "" end)' --arg d "$1")
  # It looks before it writes whether somebody uses the disk.
  sfdisk --quiet --wipe always --wipe-partitions always --no-tell-kernel "$disk" <<<"$script"
  partx --update "$disk"
  settle
  while read -r name; do
    wait_until 15 has_device "$name" || fail disk/failed "$disk: the kernel shows no partition $name"
    # What an older table had at this place may come to light again.
    wipefs --all --quiet "$(device_of "$name")"
  done < <(want '.partitions[] | select(.disk == $d).name' --arg d "$1")
}

has_device() { # <name>
  [[ -n $(device_of "$1") ]]
}

settle() { # waits until udev, if there is one, has done its part
  ! command -v udevadm >/dev/null || udevadm settle --timeout=15 || true
}

make_array() { # <name>
  local members
  mapfile -t members < <(want '.arrays[] | select(.name == $n) | .on[]' --arg n "$1")
  mapfile -t members < <(devices "${members[@]}")
  mdadm --create "/dev/md/$1" --run --homehost=any --name="$1" --metadata=1.2 --raid-devices="${#members[@]}" \
    --level="$(want '.arrays[] | select(.name == $n) | .level' --arg n "$1")" "${members[@]}"
  settle
}

start_array() { # <name>
  local members
  [[ -z $(array_device "$1") ]] || return 0
  mapfile -t members < <(want '.arrays[] | select(.name == $n) | .on[]' --arg n "$1")
  mapfile -t members < <(devices "${members[@]}")
  mdadm --assemble "/dev/md/$1" "${members[@]}"
  settle
}

make_group() { # <name>
  local members
  mapfile -t members < <(want '.groups[] | select(.name == $n) | .on[]' --arg n "$1")
  mapfile -t members < <(devices "${members[@]}")
  vgcreate --yes "$1" "${members[@]}"
}

start_group() { # <name>
  vgchange --activate y "$1"
  settle
}

make_volume() { # <group/volume>
  local size amount=(--extents 100%FREE)
  size=$(want '.groups[] | .name as $g | .volumes[] | select("\($g)/\(.name)" == $n) | .size // ""' --arg n "$1")
  # Signatures of an earlier volume at this place are wiped.
  [[ -z $size ]] || amount=(--size "${size}b")
  lvcreate --yes --wipesignatures y --name "${1#*/}" "${amount[@]}" "${1%/*}"
}

make_pool() { # <name>
  local words=() what name
  mapfile -t words < <(want '.pools[] | select(.name == $n) | (.properties // {}) | to_entries[] | "-O", "\(.key)=\(.value)"' --arg n "$1")
  words+=("$1")
  while read -r what name; do
    case $what in
      type) words+=("$name") ;;
      on) words+=("$(device_of "$name")") ;;
    esac
  done < <(want '.pools[] | select(.name == $n) | .vdevs[] | (.type // empty | "type \(.)"), (.on[] | "on \(.)")' --arg n "$1")
  zpool create ${target:+-R "$target"} "${words[@]}"
}

start_pool() { # <name>: its datasets; a property that differs is set
  local dataset property value
  zpool list "$1" >/dev/null 2>&1 || zpool import ${target:+-R "$target"} "$1"
  while IFS=$'\t' read -r dataset property value; do
    zfs list "$dataset" >/dev/null 2>&1 || zfs create -p "$dataset"
    [[ -z $property || $(zfs get -H -o value "$property" "$dataset") == "$value" ]] || zfs set "$property=$value" "$dataset"
  done < <(want '.pools[] | select(.name == $n) | .datasets[]? | "\($n)/\(.name)" as $d
    | "\($d)\t\t", ((.properties // {}) | to_entries[] | "\($d)\t\(.key)\t\(.value)")' --arg n "$1")
}

make_filesystem() { # <name of what it is on>
  local device label
  device=$(device_of "$1")
  label=$(want '.filesystems[] | select(.on == $n) | .label // ""' --arg n "$1")
  case $(want '.filesystems[] | select(.on == $n) | .type' --arg n "$1") in
    ext4) mkfs.ext4 -q ${label:+-L "$label"} "$device" ;;
    xfs) mkfs.xfs -q ${label:+-L "$label"} "$device" ;;
    btrfs) mkfs.btrfs -q ${label:+-L "$label"} "$device" ;;
    vfat) mkfs.vfat ${label:+-n "$label"} "$device" ;;
    swap) mkswap ${label:+-L "$label"} "$device" ;;
  esac
}

make_mount() { # <name of what is mounted>
  local point options
  point=$target$(want '.filesystems[] | select(.on == $n) | .mount' --arg n "$1")
  options=$(want '.filesystems[] | select(.on == $n) | .options // "defaults"' --arg n "$1")
  mkdir -p "$point"
  mount -o "$options" "$(device_of "$1")" "$point"
}

write_fstab() { # below $target; swap has a line too, and is switched on by whoever boots with it
  local on point type options check
  while IFS=$'\t' read -r on point type options check; do
    write_fstab_line "UUID=$(signature "$(device_of "$on")" UUID) $point $type $options 0 $check"
  done < <(want '.filesystems | map(select(.mount or .type == "swap")) | sort_by(.mount // "")[] | [.on, .mount // "none", .type,
    .options // "defaults", if .mount == "/" then 1 elif .type == "ext4" then 2 else 0 end] | join("\t")')
}

write_fstab_line() { # <line>: in the place of what stands there for the same device or mount point; the rest stays
  local fstab=$target/etc/fstab
  mkdir -p "$target/etc"
  touch "$fstab"
  ! grep -qxF -- "$1" "$fstab" || return 0
  awk -v line="$1" 'BEGIN { split(line, new) } $1 == new[1] || (new[2] != "none" && $2 == new[2]) { next } { print }
    END { print line }' "$fstab" >"$fstab.new"
  mv "$fstab.new" "$fstab"
}
