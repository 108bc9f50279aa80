#!/usr/bin/env bats
# zpool::create and zpool::status. There is no ZFS here: the choice of a layout is checked over made-up lists of disks, and
# the rest on real block devices with a shim that plays zpool and zfs.

# shellcheck disable=SC2016 # jq's

bats_require_minimum_version 1.5.0
load machine

setup() {
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
}

teardown() {
  [[ -z ${MACHINE:-} ]] || teardown_machine
}

disks() { # <number> <GB> <hdd|ssd>: prints the facts of so many disks
  local i
  for ((i = 0; i < $1; i++)); do
    printf '{"name":"%s-%s-%02d","bytes":%s000000000,"rotational":%s}\n' "$3" "$2" "$i" "$2" "$([[ $3 == hdd ]] && echo true || echo false)"
  done
}

layout() { # [<layout> [<spares> [<cache>]]]; reads facts; sets output
  output=$(bash -c 'set -euo pipefail; source "$1"; choose_layout "$2" "$3" "$4"' - "$SCRIPTS/zpool/files/layout.sh" "${1:-}" "${2:-}" "${3:-true}")
  printf '%s\n' "$output"
}

has() { # <layout> <groups> <disks in each> <spares>
  answer '[.layout, (.vdevs | length), (.vdevs | map(.disks | length) | unique | join(",")), (.spares | length)] | join(" ")' "$*"
}

@test 'few disks: one alone, two mirrored, three and four with single parity' {
  layout < <(disks 1 4000 hdd) && has single 1 1 0
  layout < <(disks 2 4000 hdd) && has mirror 1 2 0
  layout < <(disks 3 4000 hdd) && has raidz1 1 3 0
  layout < <(disks 4 4000 hdd) && has raidz1 1 4 0
}

@test 'five and six: double parity for spinning disks, single for solid ones' {
  layout < <(disks 5 4000 hdd) && has raidz2 1 5 0
  layout < <(disks 6 4000 hdd) && has raidz2 1 6 0
  layout < <(disks 6 960 ssd) && has raidz1 2 3 0
}

@test 'many small disks are mirrored, with spares' {
  layout < <(disks 7 600 hdd) && has mirror 3 2 1
  layout < <(disks 12 600 hdd) && has mirror 5 2 2
  layout < <(disks 16 600 hdd) && has mirror 7 2 2
}

@test 'many big disks, and very many of any size, get double parity' {
  layout < <(disks 12 4000 hdd) && has raidz2 1 11 1
  layout < <(disks 36 4000 hdd) && has raidz2 3 11 3
  layout < <(disks 24 960 ssd) && has raidz2 2 11 2
}

@test 'a layout and a number of spares that are asked for are kept to, or are an error' {
  layout mirror 0 < <(disks 12 4000 hdd) && has mirror 6 2 0
  layout raidz3 '' < <(disks 10 4000 hdd) && has raidz3 1 10 0
  layout '' 1 < <(disks 9 4000 hdd) && has raidz2 1 8 1
  layout raidz3 '' < <(disks 3 4000 hdd)
  answer .error '3 disks make no raidz3'
  layout mirror 1 < <(disks 4 4000 hdd)
  answer .error '4 disks make no mirror with 1 spares'
}

@test 'with spinning disks, a few small solid ones are a mirrored log, the others a cache' {
  layout < <(disks 4 4000 hdd && disks 2 100 ssd && disks 1 960 ssd)
  has raidz1 1 4 0
  answer '.logs | tojson' '[["ssd-100-00","ssd-100-01"]]'
  answer '.cache | tojson' '["ssd-960-00"]'
}

@test 'without spinning disks the biggest solid ones are for the data' {
  layout < <(disks 2 100 ssd && disks 2 960 ssd)
  answer '.vdevs[0].disks | join(" ")' 'ssd-960-00 ssd-960-01'
  answer '.logs | length' 1
}

@test 'sizes that differ by a few percent are one size, and the biggest disks are the spares' {
  layout < <(disks 6 600 hdd && disks 1 605 hdd)
  has mirror 3 2 1
  answer '.spares | join(" ")' hdd-605-00
  answer .bytes 1800000000000
}

@test 'smaller spinning disks are left out, and listed; so is the cache where none is wanted' {
  layout '' '' false < <(disks 4 4000 hdd && disks 2 500 hdd && disks 5 960 ssd)
  answer '.unused | length' 7
  answer '.cache | length' 0
}

@test 'no disks make no pool' {
  layout </dev/null
  answer .error 'there is no disk to make a pool of'
}

machine_with_zfs() { # [<udev>]: four disks, in the order of their names
  local program
  setup_machine
  on_machine mount -t tmpfs none /run
  # All that a task looks for: no udev runs here.
  [[ -z ${1:-} ]] || on_machine sh -c 'mkdir /run/udev && touch /run/udev/control'
  for _ in 1 2 3 4; do add_disk; done
  # What loop devices are free need not be in that order.
  mapfile -t DISKS < <(printf '%s\n' "${DISKS[@]}" | sort --version-sort)
  SHIMS=$BATS_TEST_TMPDIR/shims
  export POOLS=$BATS_TEST_TMPDIR/pools
  mkdir "$SHIMS" "$POOLS"
  for program in zpool zfs; do ln -s "$BATS_TEST_DIRNAME/shims/zpool-shim" "$SHIMS/$program"; done
}

create() { # [<parameter>=<value>…]: of the four disks, all confirmed unless confirm_serials is given
  local disk select=() serials=() IFS=,
  for disk in "${DISKS[@]}"; do
    select+=("{\"name\":\"$disk\"}")
    serials+=("\"$(serial_of "$disk")\"")
  done
  task zpool::create "select=[${select[*]}]" "confirm_serials=[${serials[*]}]" "$@"
}

@test 'a pool is created, exported, imported, and read again' {
  machine_with_zfs
  create
  ((status == 0))
  answer '[.verdict, .pool, .layout.layout, .status.verdict] | @csv' '"created","zones","raidz1","good"'
  answer '[.disks[].verdict] | unique | join(",")' in-pool
  grep -qx "zpool create -f -o ashift=12 -m /zones zones raidz ${DISKS[*]/%/p1}" "$POOLS/calls"
  grep -qx 'zpool import -d /dev zones' "$POOLS/calls"
  [[ ! -e $POOLS/zones/ur-proof ]]
}

@test 'where there is udev, ZFS gets whole disks and partitions them itself' {
  machine_with_zfs udev
  create
  ((status == 0))
  grep -qx "zpool create -f -o ashift=12 -m /zones zones raidz ${DISKS[*]}" "$POOLS/calls"
  [[ ! -e ${DISKS[0]}p1 ]]
}

@test 'where there is none, each disk gets a partition first, whatever was there before' {
  machine_with_zfs
  sgdisk --new=1:0:+8M --new=2:0:+8M "${DISKS[0]}" >/dev/null
  mkfs.ext4 -q "${DISKS[1]}"
  create
  ((status == 0))
  for disk in "${DISKS[@]}"; do
    [[ $(sfdisk --json "$disk" | jq -r '[.partitiontable.partitions[].type] | join(" ")') == 6A898CC3-1DD2-11B2-99A6-080020736631 ]]
  done
}

@test 'a second run finds the pool and leaves it alone' {
  machine_with_zfs
  create
  create
  ((status == 0))
  answer .verdict already
  [[ $(grep -c 'zpool create' "$POOLS/calls") == 1 ]]
}

@test 'a pool of that name on other disks is an error, and is left alone' {
  machine_with_zfs
  create
  create confirm_serials='["S1"]'
  ((status == 1))
  answer ._error.kind zpool/exists
}

@test 'with --noop the layout and the command are shown, and nothing is done' {
  machine_with_zfs
  create _noop=true layout=mirror confirm_serials='[]'
  ((status == 0))
  answer .verdict would-create
  answer .command "zpool create -f -o ashift=12 -m /zones zones mirror ${DISKS[0]}p1 ${DISKS[1]}p1 mirror ${DISKS[2]}p1 ${DISKS[3]}p1"
  run ! grep -q 'zpool create' "$POOLS/calls"
}

@test 'a disk that is not confirmed, or in use, is refused before anything is written' {
  machine_with_zfs
  create confirm_serials="[\"$(serial_of "${DISKS[0]}")\"]"
  ((status == 1))
  answer ._error.kind disk/refused
  mkfs.ext4 -q "${DISKS[0]}"
  on_machine mount "${DISKS[0]}" /mnt
  create
  answer ._error.kind disk/refused
  run ! grep -q 'zpool create' "$POOLS/calls"
}

@test 'a zpool that says yes and makes no pool is a failure' {
  machine_with_zfs
  touch "$POOLS/lies"
  create
  ((status == 1))
  answer ._error.kind zpool/failed
  answer .verdict failed
}

@test 'data that read differently after the import are a failure' {
  machine_with_zfs
  touch "$POOLS/forgets"
  create
  ((status == 1))
  [[ $output == *'reads differently'* ]]
}

@test 'a pool that is not healthy from the start is a failure' {
  machine_with_zfs
  touch "$POOLS/degraded"
  create
  ((status == 1))
  answer .status.verdict failing
}

@test 'the status of a pool counts the errors of each device' {
  machine_with_zfs
  create
  touch "$POOLS/degraded"
  task zpool::status
  answer '.pools[0] | [.pool, .health, .verdict] | @csv' '"zones","DEGRADED","failing"'
  answer '.pools[0].devices[] | select(.state == "FAULTED") | [.read, .write] | @csv' 3,1
  task zpool::status pool=tank
  ((status == 1))
  [[ $output == *'there is zones'* ]]
}

@test 'jq, which is slow to start, is started 8 times at most' {
  machine_with_zfs
  starts_jq_at_most 8 create _noop=true
  answer .verdict would-create
  starts_jq_at_most 8 create
  answer .verdict created
  starts_jq_at_most 8 create
  answer .verdict already
  starts_jq_at_most 8 task zpool::status
  answer '.pools | length' 1
}
