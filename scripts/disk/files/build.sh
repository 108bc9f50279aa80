# shellcheck shell=bash
# Building what a layout wants and is not there yet. What is there and right is not touched. Needs layout.sh.

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
  done < <(want things)
}

make_table() { # <disk's name>
  local disk=/dev/${disk_of[$1]} name
  # sfdisk looks before it writes whether a program uses the disk.
  sfdisk --quiet --wipe always --wipe-partitions always --no-tell-kernel "$disk" <<<"${wanted["script of $1"]}"
  reread_table "${disk_of[$1]}"
  settle
  while read -r name; do
    wait_until 15 has_device "$name" || fail disk/failed "$disk: the kernel shows no partition $name"
    # What an older table had at this place may come to light again.
    wipefs --all --quiet "$(device_of "$name")"
  done < <(want 'partitions of' "$1")
}

has_device() { # <name>
  [[ -n $(device_of "$1") ]]
}

settle() { # waits until udev, if there is one, has done its part
  ! command -v udevadm >/dev/null || udevadm settle --timeout=15 || true
}

make_array() { # <name>
  local members
  mapfile -t members < <(want 'array members of' "$1")
  mapfile -t members < <(devices "${members[@]}")
  mdadm --create "/dev/md/$1" --run --homehost=any --name="$1" --metadata=1.2 --raid-devices="${#members[@]}" \
    --level="${wanted["level of $1"]}" "${members[@]}"
  settle
}

start_array() { # <name>
  local members
  [[ -z $(array_device "$1") ]] || return 0
  mapfile -t members < <(want 'array members of' "$1")
  mapfile -t members < <(devices "${members[@]}")
  mdadm --assemble "/dev/md/$1" "${members[@]}"
  settle
}

make_group() { # <name>
  local members
  mapfile -t members < <(want 'group members of' "$1")
  mapfile -t members < <(devices "${members[@]}")
  vgcreate --yes "$1" "${members[@]}"
}

start_group() { # <name>
  vgchange --activate y "$1"
  settle
}

make_volume() { # <group/volume>
  local size=${wanted["size of $1"]:-} amount=(--extents 100%FREE)
  # Signatures of an earlier volume at this place are wiped.
  [[ -z $size ]] || amount=(--size "${size}b")
  lvcreate --yes --wipesignatures y --name "${1#*/}" "${amount[@]}" "${1%/*}"
}

make_pool() { # <name>
  local words=() what name
  mapfile -t words < <(want 'options of' "$1")
  words+=("$1")
  while read -r what name; do
    case $what in
      type) words+=("$name") ;;
      on) words+=("$(device_of "$name")") ;;
    esac
  done < <(want 'vdevs of' "$1")
  zpool create ${target:+-R "$target"} "${words[@]}"
}

start_pool() { # <name>: its datasets; a property that differs is set
  local dataset property value
  zpool list "$1" >/dev/null 2>&1 || zpool import ${target:+-R "$target"} "$1"
  while IFS=$'\t' read -r dataset property value; do
    zfs list "$dataset" >/dev/null 2>&1 || zfs create -p "$dataset"
    [[ -z $property || $(zfs get -H -o value "$property" "$dataset") == "$value" ]] || zfs set "$property=$value" "$dataset"
  done < <(want 'datasets of' "$1")
}

make_filesystem() { # <name of what it is on>
  format "$1" "$(device_of "$1")"
}

format() { # <name of what the file system is on> <device or file>
  local label=${wanted["filesystem label $1"]:-}
  case ${wanted["filesystem type $1"]} in
    ext4) mkfs.ext4 -q ${label:+-L "$label"} "$2" ;;
    xfs) mkfs.xfs -q ${label:+-L "$label"} "$2" ;;
    btrfs) mkfs.btrfs -q ${label:+-L "$label"} "$2" ;;
    vfat) mkfs.vfat ${label:+-n "$label"} "$2" ;;
    swap) mkswap ${label:+-L "$label"} "$2" ;;
  esac
}

make_mount() { # <name of what is mounted>
  local point=$target${wanted["filesystem mount $1"]} options=${wanted["filesystem options $1"]:-defaults}
  mkdir -p "$point"
  mount -o "$options" "$(device_of "$1")" "$point"
}

write_fstab() { # below $target; swap has a line too, and is switched on by the system that boots with it
  local on point type options check uuid
  while IFS=$'\t' read -r on point type options check; do
    uuid=$(signature "$(device_of "$on")" UUID)
    [[ -n $uuid && $uuid != unclear ]] || fail disk/failed "$on: its file system has no UUID that fstab could name"
    fstab_word point "$point"
    fstab_word options "$options"
    write_fstab_line "UUID=$uuid $point $type $options 0 $check"
  done < <(want fstab)
}

fstab_word() { # <variable> <text>: sets it to the text as one word of fstab(5)
  local ur_word=${2//\\/\\134}
  ur_word=${ur_word// /\\040}
  ur_word=${ur_word//$'\t'/\\011}
  ur_word=${ur_word//$'\n'/\\012}
  printf -v "$1" %s "${ur_word//#/\\043}"
}

write_fstab_line() { # <line>: in the place of what stands there for the same mount point or swap; the rest stays
  local fstab=$target/etc/fstab
  mkdir -p "$target/etc"
  touch "$fstab"
  ! grep -qxF -- "$1" "$fstab" || return 0
  # By the environment, because in an assignment awk would read backslashes as escapes; fstab writes a space as \040.
  line=$1 awk 'BEGIN { split(ENVIRON["line"], new) } !/^[[:space:]]*#/ && (new[3] == "swap" ? $1 == new[1] : $2 == new[2]) { next }
    { print } END { print ENVIRON["line"] }' "$fstab" >"$fstab.new"
  mv "$fstab.new" "$fstab"
}
