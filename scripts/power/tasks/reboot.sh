#!/usr/bin/env bash
# Rebooting the node: by the agent, which first delivers every reply it owes, and by force if that comes to nothing.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/job.sh
source "$PT__installdir/ur/files/job.sh"
# shellcheck source=scripts/power/files/down.sh
source "$PT__installdir/power/files/down.sh"
# shellcheck source=scripts/power/files/result.sh
source "$PT__installdir/power/files/result.sh"

# The exit status by which a script asks the agent for a reboot.
readonly please_reboot=113

main() {
  trace
  need sync:coreutils timeout:coreutils reboot:systemd-sysv
  guard_idle
  if noop; then
    report reboot
    return
  fi
  flush_and_stay_behind reboot_if_still_up
  report reboot
  exit "$please_reboot"
}

reboot_if_still_up() {
  if find_job; then
    # The agent waits for all replies, five minutes at most, before it starts the reboot.
    wait_until 600 [ -e "$job_state/rebooting" ]
  fi
  sleep "${PT_grace:-120}"
  go_down reboot b
}

main "$@"
