#!/usr/bin/env bash
# Switches the node off, such that the headnode knows about it: the reply is out before the lights are.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/power/files/down.sh
source "$PT__installdir/power/files/down.sh"

main() {
  trace
  need sync:coreutils timeout:coreutils poweroff:systemd-sysv
  guard_idle
  if ! noop; then
    flush
    stay_behind off_when_told
  fi
  answer off
}

off_when_told() {
  # An agent that keeps no job directory tells nobody when its reply is out; it takes it moments.
  reply_is_out || sleep 5
  go_down poweroff o
}

main "$@"
