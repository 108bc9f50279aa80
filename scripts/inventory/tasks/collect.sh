#!/usr/bin/env bash
# What a node is made of and how well it is, in one document: for choosing its role, comparing it with what was bought,
# and finding the part that is about to fail. Collectors are independent: one that fails, or hangs, costs its own part.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/inventory/files/sysfs.sh
source "$PT__installdir/inventory/files/sysfs.sh"
# shellcheck source=scripts/inventory/files/machine.sh
source "$PT__installdir/inventory/files/machine.sh"
# shellcheck source=scripts/inventory/files/devices.sh
source "$PT__installdir/inventory/files/devices.sh"
# shellcheck source=scripts/inventory/files/health.sh
source "$PT__installdir/inventory/files/health.sh"
# shellcheck source=scripts/inventory/files/lldp.sh
source "$PT__installdir/inventory/files/lldp.sh"

readonly all_collectors='["status","system","cpu","numa","memory","disks","nics","lldp","pci","usb","bmc","tpm","health"]'
# For one collector. The slowest ask drives and BMCs, and each such question has a limit of its own.
readonly patience=180

main() {
  local wanted=${PT_collectors:-[]}
  [[ $wanted != '[]' ]] || wanted=$all_collectors
  trace
  need jq
  make_scratch
  mapfile -t collectors < <(items "$wanted")
  start
  gather
  report
}

start() { # starts all collectors at once; sets running
  local collector
  declare -gA running=()
  for collector in "${collectors[@]}"; do
    declare -F "collect_$collector" >/dev/null \
      || fail inventory/collector "there is no collector $collector: there are $(items "$all_collectors" | paste -sd ' ')"
    # In the background errexit holds, which it would not behind an "if".
    (
      trap 'printf "status %d of: %s\n" "$?" "${BASH_COMMAND%%$'"'\n'"'*}" >&2; exit 1' ERR
      "collect_$collector" >"$scratch/$collector.json"
    ) 2>"$scratch/$collector.log" &
    running[$collector]=$!
  done
}

complain() { # <text>: what the collector at hand could not find out, and why
  printf '{"collector":"%s","msg":%s}\n' "$collector" "$(json_string "$1")" >>"$scratch/errors"
}

gather() { # waits for the collectors
  local collector done=0
  for collector in "${collectors[@]}"; do
    if ! wait_until "$patience" has_ended "${running[$collector]}"; then
      kill -KILL "${running[$collector]}" || true
      complain "it did not answer within $patience seconds"
      rm -f "$scratch/$collector.json"
    elif ! wait "${running[$collector]}"; then
      complain "$(tail -n 3 "$scratch/$collector.log" | paste -sd ' ')"
      rm -f "$scratch/$collector.json"
    fi
    progress $((++done * 100 / ${#collectors[@]})) "$collector"
  done
}

has_ended() { # <pid of a child>
  ! kill -0 "$1" 2>/dev/null
}

report() {
  local collector
  touch "$scratch/errors"
  jq -r '"\(.collector): \(.msg)"' "$scratch/errors" >&2
  result "$(for collector in "${collectors[@]}"; do
    [[ ! -s $scratch/$collector.json ]] || jq -c --arg name "$collector" '{($name): .}' "$scratch/$collector.json"
  done | jq -cs --slurpfile errors "$scratch/errors" 'add // {} | . + {errors: $errors}')"
}

main "$@"
