#!/usr/bin/env bash
# The inventory of a node: its parts and their health in one document, for choosing its role, comparing it with what was
# bought, and finding the part that is about to fail. Collectors are independent: one that fails, or hangs, costs its own part.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/job.sh
source "$PT__installdir/ur/files/job.sh"
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

readonly all_collectors=(status system cpu numa memory disks nics lldp pci usb bmc tpm health)
# For one collector. The slowest ask drives and BMCs, and each such question has a limit of its own.
readonly patience=180

main() {
  local wanted=${PT_collectors:-[]}
  trace
  need jq
  make_scratch
  mapfile -t collectors < <(if [[ $wanted == '[]' ]]; then printf '%s\n' "${all_collectors[@]}"; else items "$wanted"; fi)
  start
  gather
  report
}

start() { # starts all collectors at once; sets running
  local collector
  declare -gA running=()
  for collector in "${collectors[@]}"; do
    declare -F "collect_$collector" >/dev/null \
      || fail inventory/collector "there is no collector $collector: there are ${all_collectors[*]}"
    # In the background errexit holds, which it would not behind an "if".
    (
      trap 'printf "status %d of: %s\n" "$?" "${BASH_COMMAND%%$'"'\n'"'*}" >&2; exit 1' ERR
      "collect_$collector" >"$scratch/$collector.json"
    ) 2>"$scratch/$collector.log" &
    running[$collector]=$!
  done
}

complain() { # <text>: what the collector at hand could not find out, and why
  local msg
  msg=$(mask_secrets <<<"$1")
  printf '%s: %s\n' "$collector" "$msg" >>"$scratch/complaints"
  printf '{"collector":"%s","msg":%s}\n' "$collector" "$(json_string "$msg")" >>"$scratch/errors"
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

report() {
  local collector
  touch "$scratch/errors" "$scratch/complaints"
  cat "$scratch/complaints" >&2
  # What a collector made of a device's words may be no JSON: that costs its own part too.
  result "$(for collector in "${collectors[@]}"; do
    [[ ! -s $scratch/$collector.json ]] || printf '%s\t%s\n' "$collector" "$(<"$scratch/$collector.json")"
  done | jq -Rnc --slurpfile errors "$scratch/errors" '
    reduce (inputs | split("\t") | {name: .[0], value: (.[1] | try {json: fromjson} catch {error: .})}) as $part ({errors: $errors};
      if $part.value.error then .errors += [{collector: $part.name, msg: $part.value.error}] else .[$part.name] = $part.value.json end)
    | del(.errors) + {errors}')"
}

main "$@"
