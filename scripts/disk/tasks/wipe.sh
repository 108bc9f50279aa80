#!/usr/bin/env bash
# Wiping disks: their partition tables and signatures, so that they look new, in seconds, and that no old table, array or
# volume group comes back to life on them. The data can still be read; disk::erase is for that.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/inuse.sh
source "$PT__installdir/ur/files/inuse.sh"
# shellcheck source=scripts/disk/files/guards.sh
source "$PT__installdir/disk/files/guards.sh"
# shellcheck source=scripts/disk/files/stack.sh
source "$PT__installdir/disk/files/stack.sh"
# shellcheck source=scripts/disk/files/wipe.sh
source "$PT__installdir/disk/files/wipe.sh"

declare -A problem=() # of each disk that could not be wiped: what happened

main() {
  trace
  need jq wipefs:util-linux partx:util-linux blkid:util-linux blockdev:util-linux findfs:util-linux
  guards
  if noop; then
    answer "$(for name in "${targets[@]}"; do verdict "$name" would-wipe ''; done)"
    return
  fi
  need_for_stacks "${targets[@]}"
  writes
  verification
}

guards() {
  choose_disks "${PT_select:-[]}" "${PT_skip:-[]}"
  noop || guard_confirmed "${PT_confirm_serials:-[]}"
  guard_disks "${PT_allow_shared:-false}"
  end_if_refused
}

writes() {
  local name
  declare -gA before=()
  take_down "${targets[@]}"
  for name in "${targets[@]}"; do
    progress 0 "$name"
    before[$name]=$(contents_of "$name" | json_strings)
    log "/dev/$name: wiping ${before[$name]}"
    wipe_disk "$name" || problem[$name]='writing failed: the log tells more'
  done
}

verification() {
  local name traces
  for name in "${targets[@]}"; do
    traces=$(traces_of "$name" | tr '\n' ';')
    [[ -z $traces ]] || problem[$name]="signatures are still there: $traces"
  done
  answer "$(for name in "${targets[@]}"; do
    verdict "$name" "$([[ -n ${problem[$name]:-} ]] && printf failed || printf wiped)" "${problem[$name]:-}" "{\"held\":${before[$name]}}"
  done)"
}

answer() { # <verdicts, one JSON object a line>
  local disks
  disks=$(
    untouched_verdicts
    printf '%s' "$1"
  )
  disks="{\"disks\":$(json_array "$disks")}"
  ((${#problem[@]} == 0)) || fail disk/failed "some disks were not wiped: ${!problem[*]}" "$disks"
  result "$disks"
}

main "$@"
