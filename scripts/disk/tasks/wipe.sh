#!/usr/bin/env bash
# A disk that has been used before misleads whoever installs on it: old tables, arrays and volume groups come back to
# life. This makes disks look new, in seconds. The data on them can still be read; disk::erase is for that.
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
    before[$name]=$(contents_of "$name" | jq -Rnc '[inputs]')
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
  disks="{\"disks\":$({
    untouched_verdicts
    printf '%s' "$1"
  } | jq -cs .)}"
  ((${#problem[@]} == 0)) || fail disk/failed "some disks were not wiped: ${!problem[*]}" "$disks"
  result "$disks"
}

main "$@"
