#!/usr/bin/env bash
# A ZFS pool of the disks of this node, laid out by their kind and number, and shown to work before anything is built on it:
# the first step of setting up a node of Triton.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/inuse.sh
source "$PT__installdir/ur/files/inuse.sh"
# shellcheck source=scripts/disk/files/guards.sh
source "$PT__installdir/disk/files/guards.sh"
# shellcheck source=scripts/zpool/files/layout.sh
source "$PT__installdir/zpool/files/layout.sh"
# shellcheck source=scripts/zpool/files/pool.sh
source "$PT__installdir/zpool/files/pool.sh"
# shellcheck source=scripts/zpool/files/existing.sh
source "$PT__installdir/zpool/files/existing.sh"
# shellcheck source=scripts/zpool/files/partition.sh
source "$PT__installdir/zpool/files/partition.sh"

main() {
  trace
  need jq zpool:zfsutils-linux zfs:zfsutils-linux wipefs:util-linux blkid:util-linux partx:util-linux findfs:util-linux sha256sum:coreutils
  has_udev || need sfdisk:fdisk
  pool=${PT_pool:-zones}
  [[ $pool =~ ^[A-Za-z][A-Za-z0-9_.-]*$ ]] || fail zpool/refused "pool $pool: letters, digits, dots, dashes and underscores only"
  choose_disks "${PT_select:-[]}" "${PT_skip:-[]}"
  if pool_exists "$pool"; then
    accept_existing "$(pool_disks "$(pool_report "$pool")")"
    return
  fi
  lies_on=$(labelled_disks "$pool" "${!facts[@]}")
  if [[ -n $lies_on ]]; then
    accept_existing "$lies_on"
    return
  fi
  guards
  if noop; then
    report would-create "{\"command\":$(json_string "$(printf '%q ' "${command[@]}" | sed 's/ $//')")}"
    return
  fi
  writes
  verification
}

guards() {
  layout=$(target_facts | choose_layout "${PT_layout:-}" "${PT_spares:-}" "${PT_cache:-true}")
  [[ $layout != '{"error":'* ]] || fail zpool/layout "$(jq -r .error <<<"$layout"): change layout, spares or select"
  make_command
  noop || guard_confirmed "${PT_confirm_serials:-[]}"
  guard_disks "${PT_allow_shared:-false}"
  end_if_refused
}

make_command() { # sets command; the disks that the layout does not use are left alone
  local lines what word
  # -f: what is on the disks has been looked at, and is confirmed to go. 4 KiB blocks suit all of today's disks, and the
  # ones that will replace them.
  command=(zpool create -f -o ashift=12 -m "${PT_mountpoint:-/$pool}" "$pool")
  lines=$(jq -r '
    def group($word): if length == 0 then empty else "word \($word)", "disk \(.[])" end;
    "unused \(.unused[])",
    (.vdevs[] | if .type == "single" then "disk \(.disks[])" else .type as $type | .disks | group(if $type == "raidz1" then "raidz" else $type end) end),
    (.logs | if length == 0 then empty else "word log", (.[] | if length > 1 then group("mirror") else "disk \(.[])" end) end),
    (.cache | group("cache")), (.spares | group("spare"))' <<<"$layout")
  while read -r what word; do
    case $what in
      unused) leave_alone "${word#/dev/}" 'the layout has no use for its size and kind' ;;
      word) command+=("$word") ;;
      disk) command+=("$(path_for_zfs "${word#/dev/}")") ;;
    esac
  done <<<"$lines"
}

known_so_far() { # for an error after the first write
  [[ -n ${begun:-} ]] && result_object failed
}

writes() {
  local name
  begun=true
  progress 20 "creating $pool"
  has_udev || for name in "${targets[@]}"; do partition_disk "$name"; done
  log "${command[*]}"
  limited 600 "${command[@]}" || fail zpool/failed "zpool create exited with status $?: its message is in the log"
}

verification() {
  local state missing
  progress 60 'writing and reading'
  pool_exists "$pool" || fail zpool/failed "zpool create said yes, and there is no pool $pool"
  prove_data
  state=$(pool_report "$pool")
  [[ $state == *'"verdict":"good"}' ]] || fail zpool/failed "$pool is $(jq -r '.health + ", " + .errors' <<<"$state")" "$(result_object failed "$state")"
  missing=$(comm -23 <(printf '%s\n' "${targets[@]}" | sort) <(pool_disks "$state"))
  [[ -z $missing ]] || fail zpool/failed "$pool does not lie on ${missing//$'\n'/ }" "$(result_object failed "$state")"
  report created "{\"status\":$state}"
}

prove_data() { # what was written must be there when the pool comes back: a read without that would be answered from memory
  local dataset=$pool/ur-proof where sum
  zfs create "$dataset"
  where=$(zfs get -H -o value mountpoint "$dataset")
  head -c 16777216 /dev/urandom >"$where/data"
  sum=$(sha256sum <"$where/data")
  limited 300 zpool export "$pool"
  limited 300 zpool import -d /dev "$pool" || fail zpool/failed "$pool could not be imported again"
  [[ $(sha256sum <"$where/data") == "$sum" ]] || fail zpool/failed "what was written to $pool reads differently"
  zfs destroy "$dataset"
}

result_object() { # <verdict> [<report of the pool>]: prints what there is to tell
  printf '{"pool":"%s","verdict":"%s","layout":%s%s}' "$pool" "$1" "$layout" "${2:+,\"status\":$2}"
}

report() { # <verdict> <JSON object>
  local name disks said more=${2#\{}
  disks=$(
    for name in "${targets[@]}"; do verdict "$name" "$([[ $2 == *'"status"'* ]] && printf in-pool || printf would-use)" ''; done
    untouched_verdicts
  )
  said=$(result_object "$1")
  result "${said%\}},${more%\}},\"disks\":$(json_array "$disks")}"
}

main "$@"
