# shellcheck shell=bash
# A pool that is there before zpool::create makes it, imported or not: accepted or refused. Needs the library's ur.sh and inuse.sh,
# disk/files/guards.sh and pool.sh.

accept_existing() { # <disks, one a line>: a pool that is there is never made anew; it is right if it lies on the disks that were confirmed
  local name on=()
  while read -r name; do on+=("$(identity "$name")"); done <<<"$1"
  diff <(printf '%s\n' "${on[@]}" | sort) <(items "${PT_confirm_serials:-[]}" | sort) \
    || fail zpool/exists "there is a pool $pool already, on ${on[*]}: give another name, or destroy it first" \
      "$(! pool_exists "$pool" || printf '{"status":%s}' "$(pool_report "$pool")")"
  if ! pool_exists "$pool"; then
    # As after the boot of a ramdisk, which imports nothing.
    if noop; then
      result "{\"pool\":\"$pool\",\"verdict\":\"would-import\"}"
      return
    fi
    log "$pool is there, and not imported: importing it"
    limited 300 zpool import -d /dev "$pool" \
      || fail zpool/exists "there is a pool $pool on ${on[*]}, which cannot be imported: the log tells why. Wipe the disks if it may go"
  fi
  result "{\"pool\":\"$pool\",\"verdict\":\"already\",\"status\":$(pool_report "$pool")}"
}

labelled_disks() { # <pool> <disk>…: prints those of the disks that say of themselves that they are in the pool
  local name device found
  for name in "${@:2}"; do
    while read -r device; do
      found=$(blkid --probe --output export "/dev/$device" 2>/dev/null || true)
      [[ $'\n'$found$'\n' != *$'\nLABEL='"$1"$'\n'* || $found != *TYPE=zfs_member* ]] || printf '%s\n' "$name"
    done < <(devices_of "$name") | sort -u
  done
}
