#!/usr/bin/env bash
# Which agents Ur has loaded onto the node, in which versions, and how they are.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/agent/files/folder.sh
source "$PT__installdir/agent/files/folder.sh"
# shellcheck source=scripts/agent/files/service.sh
source "$PT__installdir/agent/files/service.sh"
# shellcheck source=scripts/agent/files/respawn.sh
source "$PT__installdir/agent/files/respawn.sh"

main() {
  trace
  need jq pgrep:procps
  result "$(for home in "${PT_folder:-/opt/ur/agents}"/*/; do
    [[ ! -d $home ]] || describe_agent "${home%/}"
  done | jq -cs '{agents: .}')"
}

describe_agent() { # <folder>
  local pid='' state=stopped version current
  home=$1
  name=${home##*/}
  way=$(way_of_running)
  current=$(current_version)
  if [[ -n $current ]] && pid=$("${way}_pid"); then
    is_healthy && state=healthy || state=unhealthy
  fi
  for version in "$home"/*/.ur.json; do
    [[ $version == */current/* || ! -e $version ]] || cat "$version"
  done | jq -cs --arg name "$name" --arg way "$way" --arg state "$state" --arg current "$current" --arg pid "$pid" '
    {$name, $way, $state, versions: map(del(.name))} + if $current == "" then {} else {$current} end
    + if $pid == "" then {} else {pid: ($pid | tonumber)} end'
}

main "$@"
