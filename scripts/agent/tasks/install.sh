#!/usr/bin/env bash
# Loads an agent onto the node, or a newer version of one, Ur's own included: what lies in the boot image need not change.
# A version that does not come up healthy gives way to the one before.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/mirrors.sh
source "$PT__installdir/ur/files/mirrors.sh"
# shellcheck source=scripts/agent/files/fetch.sh
source "$PT__installdir/agent/files/fetch.sh"
# shellcheck source=scripts/agent/files/folder.sh
source "$PT__installdir/agent/files/folder.sh"
# shellcheck source=scripts/agent/files/service.sh
source "$PT__installdir/agent/files/service.sh"
# shellcheck source=scripts/agent/files/respawn.sh
source "$PT__installdir/agent/files/respawn.sh"

main() {
  # No trace: a url may carry a password.
  need jq tar flock:util-linux sha256sum:coreutils setsid:util-linux pgrep:procps
  make_scratch
  open_folder
  guards
  if noop; then
    answer would-install
  elif [[ $previous == "$version" ]] && is_healthy; then
    answer already
  else
    lock_folder
    writes
    verification
  fi
}

guards() {
  version=$PT_version
  command=${PT_command:-$name}
  is_name "$version" || fail agent/refused "version $version: letters, digits, dots, underscores, + and - only"
  [[ $PT_sha256 =~ ^[0-9a-f]{64}$ ]] || fail agent/refused 'sha256 is 64 hexadecimal digits in lower case'
  [[ $command != /* && /$command/ != */../* ]] || fail agent/refused "command $command leaves the folder of the version"
  # Else it could not be told which of the two runs.
  if [[ -e $home/$version/.ur.json ]]; then
    read_version "$home/$version"
    [[ ${version_field["$home/$version sha256"]} == "$PT_sha256" ]] || fail agent/refused "version $version is here with another content: give the new one another version"
  fi
  [[ -z ${PT_minisign_key:-} ]] || need minisign
  if [[ ${PT_urls:-[]} != '[]' ]]; then need curl; fi
}

writes() {
  progress 10 'fetching'
  if [[ ! -e $home/$version/.ur.json ]]; then
    if [[ ${PT_urls:-[]} != '[]' ]]; then
      fetch_tarball "$PT_sha256" "$(items "$PT_urls")"
    else
      take_content "$PT_sha256"
    fi
    check_signature
    progress 50 'unpacking'
    unpack_version
    rm -rf "$folder/.fetched"
  fi
  [[ $way != respawn ]] || keep_original
  previous=$(current_version)
  progress 60 'starting'
  switch_to "$version"
  "${way}_start" || log "$name $version could not be started"
}

verification() {
  progress 70 'waiting until it is healthy'
  if wait_until "${PT_health_timeout:-60}" is_healthy; then
    forget_old "$version" "$previous"
    answer installed
    return
  fi
  local log_tail running=null
  log_tail=$(tail -n 50 "$home/log" 2>/dev/null || true)
  if [[ -n $previous && $previous != "$version" ]]; then
    switch_to "$previous"
    "${way}_start" || log "$name $previous could not be started"
    ! wait_until "${PT_health_timeout:-60}" is_healthy || running=$(json_string "$previous")
  else
    "${way}_stop" || log "$name could not be stopped"
    rm -f "$home/current"
    ! "${way}_pid" >/dev/null || running='"as before"'
  fi
  # So that the version can be tried again with a better content.
  [[ $previous == "$version" ]] || rm -rf "${home:?}/$version"
  fail agent/unhealthy "$name $version was not healthy within ${PT_health_timeout:-60} seconds; running now: $running" \
    "{\"name\":\"$name\",\"version\":\"$version\",\"verdict\":\"failed\",\"running\":$running,\"log\":$(json_string "$log_tail")}"
}

answer() { # <verdict>
  local from pid more=''
  from=$(without_password "${fetched_from:-}")
  pid=$("${way}_pid" || true)
  [[ -z $previous ]] || more+=",\"previous\":$(json_string "$previous")"
  [[ -z $from ]] || more+=",\"from\":$(json_string "$from")"
  [[ -z $pid ]] || more+=",\"pid\":$pid"
  result "{\"name\":\"$name\",\"version\":\"$version\",\"verdict\":\"$1\",\"way\":\"$way\",\"attempts\":$(attempts_list)$more}"
}

main "$@"
