#!/usr/bin/env bash
# How the pools of a node are, in numbers, with one word for each.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/zpool/files/pool.sh
source "$PT__installdir/zpool/files/pool.sh"

main() {
  local pool states
  trace
  need jq zpool:zfsutils-linux
  if [[ -n ${PT_pool:-} ]]; then
    pool_exists "$PT_pool" || fail zpool/absent "there is no pool $PT_pool here: there is $(zpool list -H -o name | paste -sd ' ')"
    states=$(pool_state "$PT_pool")
  else
    states=$(limited 60 zpool list -H -o name | while read -r pool; do pool_state "$pool"; done)
  fi
  result "$(jq -cs '{pools: .}' <<<"$states")"
}

main "$@"
