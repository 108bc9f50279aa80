#!/usr/bin/env bash
# Lists the agents that Ur has loaded onto the node, their versions, and how they are.
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
  local home all=''
  trace
  need jq pgrep:procps
  for home in "${PT_folder:-/opt/ur/agents}"/*/; do
    [[ ! -d $home ]] || all+=,$(describe_agent "${home%/}")
  done
  result "{\"agents\":[${all#,}]}"
}

describe_agent() { # <folder>: prints the agent as a JSON object
  local pid='' state=stopped file record current versions='' more=''
  home=$1
  name=${home##*/}
  way=$(way_of_running)
  current=$(current_version)
  if [[ -n $current ]] && pid=$("${way}_pid"); then
    is_healthy && state=healthy || state=unhealthy
  fi
  for file in "$home"/*/.ur.json; do
    [[ $file != */current/* && -e $file ]] || continue
    # Without the name, which comes first in it and has no comma.
    record=$(<"$file")
    versions+=",{${record#*,}"
  done
  [[ -z $current ]] || more+=",\"current\":$(json_string "$current")"
  [[ -z $pid ]] || more+=",\"pid\":$pid"
  printf '{"name":%s,"way":"%s","state":"%s","versions":[%s]%s}' "$(json_string "$name")" "$way" "$state" "${versions#,}" "$more"
}

main "$@"
