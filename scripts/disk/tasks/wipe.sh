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
declare -A before=()  # of each disk that was begun: what it held

main() {
  trace
  need jq cmp:diffutils wipefs:util-linux partx:util-linux blkid:util-linux blockdev:util-linux findfs:util-linux
  guards
  if noop; then
    report "$(for name in "${targets[@]}"; do verdict "$name" would-wipe ''; done)"
    return
  fi
  need_for_stacks "${targets[@]}"
  make_scratch
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
  take_down "${targets[@]}"
  for name in "${targets[@]}"; do
    progress 0 "$name"
    before[$name]=$(contents_of "$name" | json_strings)
    log "/dev/$name: wiping ${before[$name]}"
    wipe_disk "$name" || problem[$name]='writing failed: the log tells more'
  done
  prove_second_paths
}

known_so_far() { # for an error after the first write: which disks were begun
  local name
  ((${#before[@]})) || return
  printf '{"disks":%s}' "$(json_array "$(
    untouched_verdicts
    for name in "${targets[@]}"; do
      if [[ -n ${before[$name]:-} ]]; then
        verdict "$name" failed "${problem[$name]:-the task ended before it was seen whether this disk is wiped}" "{\"held\":${before[$name]}}"
      else
        verdict "$name" untouched 'the task ended before this disk was begun'
      fi
    done
  )")"
}

verification() {
  local name traces
  for name in "${targets[@]}"; do
    # A disk that cannot be read any more must not cost the others their verdicts.
    if ! traces=$(traces_of "$name" | tr '\n' ';'); then
      problem[$name]="${problem[$name]:+${problem[$name]}; }it cannot be read: the log tells more"
    elif [[ -n $traces ]]; then
      problem[$name]="signatures are still there: $traces"
    fi
  done
  report "$(for name in "${targets[@]}"; do
    verdict "$name" "$([[ -n ${problem[$name]:-} ]] && printf failed || printf wiped)" "${problem[$name]:-}" "{\"held\":${before[$name]}}"
  done)"
}

report() { # <verdicts, one JSON object a line>
  local disks
  disks=$(
    untouched_verdicts
    printf '%s' "$1"
  )
  disks="{\"disks\":$(json_array "$disks")}"
  ((${#problem[@]} + ${#stranger[@]} == 0)) || fail disk/failed "some disks were not wiped: ${!problem[*]} ${!stranger[*]}" "$disks"
  result "$disks"
}

main "$@"
