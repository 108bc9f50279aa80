#!/usr/bin/env bash
# Erasing disks that leave for another owner, with proof. The result is a certificate: which disk, by which method, what was
# tried, and what was read back.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/job.sh
source "$PT__installdir/ur/files/job.sh"
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
# shellcheck source=scripts/disk/files/nvme.sh
source "$PT__installdir/disk/files/nvme.sh"
# shellcheck source=scripts/disk/files/ata.sh
source "$PT__installdir/disk/files/ata.sh"
# shellcheck source=scripts/disk/files/scsi.sh
source "$PT__installdir/disk/files/scsi.sh"
# shellcheck source=scripts/disk/files/methods.sh
source "$PT__installdir/disk/files/methods.sh"
# shellcheck source=scripts/disk/files/samples.sh
source "$PT__installdir/disk/files/samples.sh"
# shellcheck source=scripts/disk/files/erase.sh
source "$PT__installdir/disk/files/erase.sh"

readonly level=${PT_level:-purge} erase_limit=${PT_timeout_per_disk:-86400} samples=${PT_samples:-32}

main() {
  trace
  need jq cmp:diffutils flock:util-linux wipefs:util-linux partx:util-linux blkid:util-linux blockdev:util-linux findfs:util-linux
  make_scratch
  guards
  if noop; then
    result "$(certificate "$(planned)")"
    return
  fi
  need_for_stacks "${targets[@]}"
  writes
  verification
}

guards() {
  [[ -n ${level_rank[$level]:-} ]] || fail ur/parameter "level is purge, clear, express or metadata, not $level"
  ((${PT_parallel:-32} >= 1 && erase_limit >= 1)) || fail ur/parameter 'parallel and timeout_per_disk are at least 1'
  ((samples >= 4)) || fail ur/parameter "samples is at least 4, not $samples"
  choose_disks "${PT_select:-[]}" "${PT_skip:-[]}"
  noop || guard_confirmed "${PT_confirm_serials:-[]}"
  guard_disks "${PT_allow_shared:-false}"
  plan_erase "$level" "${PT_methods:-"{}"}"
  guard_whole_units
  guard_nothing_hidden
  end_if_refused
}

planned() {
  local name methods
  for name in "${targets[@]}"; do
    read -ra methods <<<"${plan[$(unit_of "$name")]}"
    verdict "$name" would-erase '' "{\"plan\":$(printf '%s\n' "${methods[@]}" | json_strings)}"
  done
}

writes() {
  take_down "${targets[@]}"
  begun=true
  erase_units "${PT_parallel:-32}"
  prove_second_paths
}

known_so_far() { # for an error after the first write: the certificate as far as it goes
  [[ -n ${begun:-} ]] && certificate "$(unit_verdicts 'the task ended before the erase of this disk did')"
}

verification() { # [<why verdicts may be missing>]: each unit has proved or not what it did; what is left is to miss none
  local unit name verdicts
  for unit in "${!units[@]}"; do
    for name in ${units[$unit]}; do limited 60 partx --delete "/dev/$name" 2>/dev/null || true; done
  done
  verdicts=$(certificate "$(unit_verdicts "${1:-its erase ended without a verdict}")")
  # What a drive says of itself has its quotes escaped there.
  [[ $verdicts != *'"verdict":"failed"'* ]] \
    || fail disk/failed "not erased: $(jq -r '[.disks[] | select(.verdict == "failed") | "\(.path) (\(.serial)): \(.reason)"] | join("; ")' <<<"$verdicts")" "$verdicts"
  result "$verdicts"
}

unit_verdicts() { # <why verdicts may be missing>
  local unit name
  for unit in "${!units[@]}"; do
    if [[ -s $scratch/$unit.verdicts ]]; then
      printf '%s\n' "$(<"$scratch/$unit.verdicts")"
    else
      for name in ${units[$unit]}; do verdict "$name" failed "$1"; done
    fi
  done
}

certificate() { # <verdicts, one JSON object a line>
  local origin=null ended_at disks
  # The sender is named in the request, which only an Ur agent keeps.
  if find_job && [[ -r $job_state/request.json ]]; then origin=$(jq -c '.message.origin // null' "$job_state/request.json"); fi
  TZ=UTC printf -v ended_at '%(%FT%TZ)T' -1
  disks=$(
    untouched_verdicts
    printf '%s\n' "$1"
  )
  printf '{"level":"%s","ended_at":"%s","requested":{"by":%s,"request":%s,"node":%s},"disks":%s}\n' "$level" "$ended_at" \
    "$origin" "$(json_string "${UR_REQUEST:-}")" "$(json_string "${UR_NODE:-}")" "$(json_array "$disks")"
}

main "$@"
