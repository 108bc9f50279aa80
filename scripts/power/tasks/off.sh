#!/usr/bin/env bash
# Switching the node off, after its reply has reached the broker.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/job.sh
source "$PT__installdir/ur/files/job.sh"
# shellcheck source=scripts/power/files/down.sh
source "$PT__installdir/power/files/down.sh"
# shellcheck source=scripts/power/files/result.sh
source "$PT__installdir/power/files/result.sh"

main() {
  trace
  need sync:coreutils timeout:coreutils poweroff:systemd-sysv
  guard_idle
  if ! noop; then
    flush_and_stay_behind off_when_told
  fi
  report off
}

off_when_told() {
  # An agent that keeps no job directory does not say when its reply is out; that takes it moments.
  reply_is_out || sleep 5
  go_down poweroff o
}

main "$@"
