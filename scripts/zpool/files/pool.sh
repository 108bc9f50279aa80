# shellcheck shell=bash
# The report of a ZFS pool: numbers, devices and a verdict. What zpool says in words is for people; what it says with -H and
# -p is for programs, the same on every platform and in every version. Needs the library's ur.sh.

# Where there was no pool when the machine booted, nothing has loaded the module.
export ZFS_MODULE_LOADING=yes

pool_exists() { # <pool>
  limited 60 zpool list -H -o name "$1" >/dev/null 2>&1
}

pool_report() { # <pool>: prints one JSON object: numbers, devices and a verdict
  local numbers
  numbers=$(limited 60 zpool list -H -p -o name,health,size,allocated,free,fragmentation,capacity "$1")
  {
    LC_ALL=C limited 60 zpool status -L -P -p "$1"
  } | jq -Rnc --arg numbers "$numbers" '
    def number: tonumber? // null;
    ($numbers | split("\t")) as $n
    # The devices stand between "NAME STATE READ WRITE CKSUM" and the next empty line; the indent tells what lies in what.
    | [inputs] as $lines
    | ([$lines[] | select(test("^\\s*(scan|errors|status):")) | capture("^\\s*(?<key>[a-z]+):\\s*(?<value>.*)$") | {(.key): .value}] | add // {}) as $said
    | reduce $lines[] as $line ({inside: false, devices: []};
        if $line | test("^\\s+NAME\\s+STATE") then .inside = true
        elif $line | test("^\\s*$") then .inside = false
        elif .inside then
          ($line | capture("^(?<indent>\\s*)(?<name>\\S+)(\\s+(?<state>\\S+))?(\\s+(?<read>\\d+)\\s+(?<write>\\d+)\\s+(?<checksum>\\d+))?")) as $d
          | .devices += [$d | {name, depth: ((.indent | ltrimstr("\t") | length) / 2 | floor), state, read: (.read | number), write: (.write | number), checksum: (.checksum | number)}
            | with_entries(select(.value != null))]
        else . end)
    | .devices as $devices
    | {pool: $n[0], health: $n[1], bytes: ($n[2] | number), allocated: ($n[3] | number), free: ($n[4] | number),
       fragmentation: ($n[5] | number), percent_used: ($n[6] | number), scan: $said.scan, errors: $said.errors, devices: $devices}
    | .verdict = (if .health == "ONLINE" and all($devices[]; (.read // 0) + (.write // 0) + (.checksum // 0) == 0)
        and (.errors // "" | startswith("No known data errors")) then "good" elif .health == "ONLINE" then "worn" else "failing" end)
    | with_entries(select(.value != null))'
}

pool_disks() { # <report of a pool>: prints the kernel's names of the disks that it lies on
  local device
  jq -r '.devices[].name | select(startswith("/dev/")) | ltrimstr("/dev/")' <<<"$1" | while read -r device; do disks_below "$device"; done | sort -u
}
