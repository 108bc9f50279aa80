#!/usr/bin/env bash
# Opens a login by ssh for a person who has to look at the machine, and ends it at a time that is set beforehand, also where the
# headnode cannot reach the node any more.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/image/files/rescue/login.sh
source "$PT__installdir/image/files/rescue/login.sh"

readonly hash_pattern='^\$([56]\$(rounds=[0-9]+\$)?[./A-Za-z0-9]{1,16}\$([./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})|g?y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{43}|2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53})$'
methods=() until=''

main() {
  # No trace: there may be a password's hash.
  need jq flock:util-linux dropbear:dropbear-bin dropbearkey:dropbear-bin unshare:util-linux setpriv:util-linux setsid:util-linux ip:iproute2
  umask 077
  port=${PT_port:-22}
  exec {lock}>"$login.lock"
  flock --exclusive --wait 60 "$lock" || fail image/refused 'another run of this task does not end'
  if [[ ${PT_action:-open} == end ]]; then
    end
    return
  fi
  guards
  if noop; then
    report would-open
    return
  fi
  writes
  verification
}

guards() {
  ((EUID == 0)) || fail image/refused 'only root can open a login'
  make_scratch
  write_keys "$scratch/keys"
  [[ ! -s $scratch/keys ]] || methods+=(key)
  [[ -z ${PT_password_hash:-} ]] || methods+=(password)
  ((${#methods[@]})) || fail image/refused 'there would be no way in: give keys, or a password_hash'
  # A hash that crypt does not know might let in any password.
  [[ -z ${PT_password_hash:-} || $PT_password_hash =~ $hash_pattern ]] \
    || fail image/refused 'password_hash is no hash of crypt by SHA-256, SHA-512, yescrypt or bcrypt: make one by mkpasswd, or openssl passwd -6'
  # Its own, which is about to be replaced, is no obstacle.
  ! is_listening "$port" || { keeper_runs && [[ $(<"$login/port") == "$port" ]]; } \
    || fail image/refused "something listens on port $port of this node already: give another port"
}

writes() {
  [[ ! -e $login ]] || end_now
  mkdir -p "$login/home/.ssh"
  cp "$scratch/keys" "$login/home/.ssh/authorized_keys"
  make_host_key
  write_user "${PT_password_hash:-}"
  printf '%d\n' "$port" >"$login/port"
  until=$(date --utc --date "+${PT_seconds:-14400} seconds" +%Y-%m-%dT%H:%M:%SZ)
  start_keeper "$port" "${PT_seconds:-14400}" "$(if [[ -n ${PT_password_hash:-} ]]; then printf yes; fi)"
}

verification() {
  if ! wait_until 15 is_listening "$port" || ! keeper_runs; then
    local said
    said=$(tail -n 5 "$login/log" 2>/dev/null || true)
    end_now
    fail image/failed "the ssh server did not start: $said"
  fi
  report open
}

end() {
  if [[ ! -e $login ]]; then
    report none
  elif noop; then
    report would-end
  else
    end_now
    report ended
  fi
}

report() { # <verdict>
  local addresses shown=''
  addresses=$(ip -oneline address show up scope global | awk '{ sub("/.*", "", $4); print $4 }')
  [[ ! -e $host_key ]] || shown=$(fingerprint)
  result "$(jq -cn --arg verdict "$1" --arg user "$user" --argjson port "$port" --arg until "$until" --arg addresses "$addresses" \
    --arg fingerprint "$shown" --args '
    {$verdict} + if $verdict != "open" and $verdict != "would-open" then {} else
      {$user, $port, addresses: [$addresses | splits("\n") | select(. != "")], methods: $ARGS.positional,
       fingerprint: $fingerprint, until: $until} | with_entries(select(.value != "")) end' -- "${methods[@]}")"
}

main "$@"
