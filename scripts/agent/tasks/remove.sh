#!/usr/bin/env bash
# Takes an agent that Ur has loaded off the node again: stops it, and removes all its versions.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/agent/files/folder.sh
source "$PT__installdir/agent/files/folder.sh"
# shellcheck source=scripts/agent/files/service.sh
source "$PT__installdir/agent/files/service.sh"

main() {
  trace
  need jq flock:util-linux pgrep:procps
  guards
  if [[ ! -d $home ]]; then
    report absent
  elif noop; then
    report would-remove
  else
    lock_folder
    writes
    verification
  fi
}

guards() {
  [[ $PT_name != ur-agent ]] || fail agent/refused "ur-agent is how one reaches the node: install another version of it instead"
  open_folder
}

writes() {
  pid=$("${way}_pid" || true)
  "${way}_stop"
}

verification() {
  if [[ -n $pid ]] && ! wait_until 20 process_ended "$pid"; then
    fail agent/still-running "$name still runs as process $pid: its folder was left; end the process and try again"
  fi
  rm -rf "$home"
  report removed
}

report() { # <verdict>
  result "{\"name\":\"$name\",\"verdict\":\"$1\",\"version\":$(json_string "$previous")}"
}

main "$@"
