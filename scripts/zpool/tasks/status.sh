#!/usr/bin/env bash
# The state of the ZFS pools of a node, in numbers, with one word for each.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/zpool/files/pool.sh
source "$PT__installdir/zpool/files/pool.sh"

main() {
  local pool reports
  trace
  need jq zpool:zfsutils-linux
  if [[ -n ${PT_pool:-} ]]; then
    pool_exists "$PT_pool" || fail zpool/absent "there is no pool $PT_pool here: there is $(zpool list -H -o name | paste -sd ' ')"
    reports=$(pool_report "$PT_pool")
  else
    reports=$(limited 60 zpool list -H -o name | while read -r pool; do pool_report "$pool"; done)
  fi
  result "{\"pools\":$(json_array "$reports")}"
}

main "$@"
