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
    report would-install
  elif [[ $is_right ]] && runs_already; then
    report already
  else
    lock_folder
    if [[ ! $is_right ]]; then
      complete_version
      if runs_already; then
        report already
        return
      fi
    fi
    writes
    verification
  fi
}

guards() {
  version=$PT_version
  command=${PT_command:-$name}
  is_name "$version" || fail agent/refused "version $version: letters, digits, dots, underscores, + and - only"
  ! is_taken "$version" || fail agent/refused "version $version is the name of a file of ours: give it another"
  [[ $PT_sha256 =~ ^[0-9a-f]{64}$ ]] || fail agent/refused 'sha256 is 64 hexadecimal digits in lower case'
  [[ $command != /* && /$command/ != */../* ]] || fail agent/refused "command $command leaves the folder of the version"
  guard_version
  [[ -z ${PT_minisign_key:-} ]] || need minisign
  if [[ ${PT_urls:-[]} != '[]' ]]; then need curl; fi
}

guard_version() { # sets is_here, is_signed if no key was given or that one has signed it, and is_right if nothing is left to do for it
  local place=$home/$version
  is_here='' is_right='' is_signed=''
  [[ -e $place/.ur.json ]] || return 0
  is_here=true
  read_version "$place"
  # Else it could not be told which of the two runs.
  [[ ${version_field["$place sha256"]} == "$PT_sha256" ]] || fail agent/refused "version $version is here with another content: give the new one another version"
  [[ ${version_field["$place command"]} == "$command" ]] \
    || fail agent/refused "version $version is here with another command, ${version_field["$place command"]}: give the new one another version"
  [[ -n ${PT_minisign_key:-} && ${version_field["$place minisign_key"]} != "$PT_minisign_key" ]] || is_signed=true
  [[ -z $is_signed || (-n ${PT_health:-} && ${version_field["$place health"]} != "$PT_health") ]] || is_right=true
}

runs_already() {
  [[ $previous == "$version" ]] && is_healthy
}

complete_version() { # makes the version be here, whole, signed as it is asked for, and with what tells its health
  local place=$home/$version
  if [[ ! $is_signed ]]; then
    progress 10 'fetching'
    if [[ ${PT_urls:-[]} != '[]' ]]; then
      fetch_tarball "$PT_sha256" "$(items "$PT_urls")"
    else
      take_content "$PT_sha256"
    fi
    check_signature
  fi
  if [[ $is_here ]]; then
    write_version "$place" "$version" "$PT_sha256" "${version_field["$place from"]}" "$command" \
      "${PT_health:-${version_field["$place health"]}}" "${PT_minisign_key:-${version_field["$place minisign_key"]}}"
  else
    progress 50 'unpacking'
    unpack_version
  fi
  [[ -z ${tarball:-} ]] || rm -f "$tarball" "$tarball".*
  rmdir "${home%/*}/.fetched" 2>/dev/null || true
}

writes() {
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
    report installed
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
  forget_agent_without_version
  fail agent/unhealthy "$name $version was not healthy within ${PT_health_timeout:-60} seconds; running now: $running" \
    "{\"name\":\"$name\",\"version\":\"$version\",\"verdict\":\"failed\",\"running\":$running,\"log\":$(json_string "$log_tail")}"
}

report() { # <verdict>
  local from pid more=''
  from=$(without_password "${fetched_from:-}")
  pid=$("${way}_pid" || true)
  [[ -z $previous ]] || more+=",\"previous\":$(json_string "$previous")"
  [[ -z $from ]] || more+=",\"from\":$(json_string "$from")"
  [[ -z $pid ]] || more+=",\"pid\":$pid"
  result "{\"name\":\"$name\",\"version\":\"$version\",\"verdict\":\"$1\",\"way\":\"$way\",\"attempts\":$(attempts_list)$more}"
}

main "$@"
