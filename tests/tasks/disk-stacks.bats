#!/usr/bin/env bats
# The disk tasks on md, LVM and NVMe. Many kernels, those of containers' hosts above all, have none of these:
# tools/in-vm runs this file on one that has.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031,SC2153

bats_require_minimum_version 1.5.0
load machine

setup() {
  setup_machine
  # Of arrays too the tasks learn from there.
  on_machine umount /sys/block
  modprobe --quiet --all md_mod raid1 dm_mod 2>/dev/null || true
  # As the tasks do it: without udev, device mapper makes the nodes itself.
  [[ -e /run/udev/control ]] || export DM_DISABLE_UDEV=1
  export LVM_SUPPRESS_FD_WARNINGS=1
  add_disk
  add_disk
}

teardown() {
  local volume
  on_machine umount --recursive "$BATS_TEST_TMPDIR/target" /mnt 2>/dev/null || true
  # By name: a volume group of the host's must not even be looked at.
  if [[ -n ${group:-} ]]; then
    for volume in "/dev/mapper/$group"-*; do dmsetup remove --retry "${volume##*/}" 2>/dev/null || true; done
  fi
  if [[ -b ${array:-} ]]; then mdadm --stop "$array" || true; fi
  teardown_machine
}

need_md() {
  [[ -e /proc/mdstat ]] || skip 'this kernel has no md'
}

need_dm() {
  dmsetup version >/dev/null 2>&1 || skip 'this kernel has no device mapper'
}

chosen() { # <disk>…: prints the parameters that choose and confirm them
  local disk select=() serials=()
  for disk; do
    select+=("{\"name\":\"$disk\"}")
    serials+=("\"$(serial_of "$disk")\"")
  done
  local IFS=,
  printf '%s\n' "select=[${select[*]}]" "confirm_serials=[${serials[*]}]"
}

on_disks() { # <task> <disk>… [-- <parameter>=<value>…]
  local name=$1 disks=() parameters
  shift
  while (($#)) && [[ $1 != -- ]]; do disks+=("$1") && shift; done
  shift || true
  mapfile -t parameters < <(chosen "${disks[@]}")
  task "$name" "${parameters[@]}" "$@"
}

make_array() { # sets array to a mirror of both disks, with a secret on it
  array=/dev/md42
  mdadm --create "$array" --run --quiet --level=1 --metadata=1.2 --raid-devices=2 --assume-clean "${DISKS[@]}"
  printf 'a secret' | dd of="$array" bs=1 seek=$((33 << 20)) conv=notrunc,fsync status=none
}

refused() { # <words of the reason>
  ((status != 0))
  answer '._error.kind' disk/refused
  [[ $(jq -r '._error.msg' <<<"$output") == *"$1"* ]]
}

is_blank() { # <disk>
  blockdev --flushbufs "$1"
  cmp --bytes=$((64 << 20)) "$1" /dev/zero
}

@test 'md: the array is stopped, and its members are erased whole, not skipped' {
  need_md
  make_array
  on_disks disk::erase "${DISKS[@]}" -- level=clear samples=6
  ((status == 0))
  answer '[.disks[].verdict] | join(" ")' 'erased erased'
  [[ ! -e /sys/block/md42/md/array_state || $(</sys/block/md42/md/array_state) == clear ]]
  is_blank "${DISKS[0]}"
  is_blank "${DISKS[1]}"
}

@test 'md: a mounted array refuses' {
  need_md
  make_array
  mkfs.ext4 -q "$array"
  on_machine mount "$array" /mnt
  on_disks disk::erase "${DISKS[@]}" -- level=clear
  refused '/dev/md42 is mounted on /mnt'
}

@test 'md: an array that also lies on a disk that was not chosen refuses' {
  need_md
  make_array
  on_disks disk::wipe "${DISKS[0]}"
  refused "/dev/md42 also lies on ${DISKS[1]}, which is not chosen"
}

@test 'LVM: volumes are taken down, and a wiped disk has no group any more' {
  need_dm
  group=urtest$$
  pvcreate --quiet "${DISKS[@]}"
  vgcreate --quiet "$group" "${DISKS[@]}"
  lvcreate --quiet --yes --name a --size 80M "$group"
  on_disks disk::wipe "${DISKS[@]}"
  ((status == 0))
  [[ -z $(dmsetup ls | grep "^$group" || true) ]]
  [[ -z $(wipefs --noheadings "${DISKS[@]}") ]]
}

@test 'LVM: a mounted volume refuses' {
  need_dm
  group=urtest$$
  vgcreate --quiet "$group" "${DISKS[@]}"
  lvcreate --quiet --yes --name a --size 80M "$group"
  mkfs.ext4 -q "/dev/mapper/$group-a"
  on_machine mount "/dev/mapper/$group-a" /mnt
  on_disks disk::wipe "${DISKS[@]}"
  on_machine umount /mnt
  refused 'is mounted on /mnt'
}

layout() { # prints one with a mirror, a volume group on it, and two volumes
  jq -cn --arg a "${DISKS[0]}" --arg b "${DISKS[1]}" --arg group "$group" '{
    disks: {a: {name: $a}, b: {name: $b}},
    partitions: [{disk: "a", name: "half-a", size: "rest", type: "raid"}, {disk: "b", name: "half-b", size: "rest", type: "raid"}],
    arrays: [{name: "both", level: "raid1", on: ["half-a", "half-b"]}],
    groups: [{name: $group, on: ["both"], volumes: [{name: "root-fs", size: "32M"}, {name: "swap", size: "rest"}]}],
    filesystems: [{on: "\($group)/root-fs", type: "ext4", mount: "/"}, {on: "\($group)/swap", type: "swap"}]}'
}

@test 'setup: a mirror with volumes on it is built, found again, and started again when it was stopped' {
  need_md
  need_dm
  group=urtest$$
  mkdir "$BATS_TEST_TMPDIR/target"
  task disk::setup "layout=$(layout)" "target=$BATS_TEST_TMPDIR/target"
  array=$(find /dev -maxdepth 1 -name 'md[0-9]*' | head -n 1)
  ((status == 0))
  answer '[.disks[].verdict] | unique | join(" ")' built
  task disk::setup "layout=$(layout)" "target=$BATS_TEST_TMPDIR/target"
  ((status == 0))
  answer '.made | length' 0
  on_machine umount "$BATS_TEST_TMPDIR/target"
  vgchange --quiet --activate n "$group"
  mdadm --stop "$array"
  task disk::setup "layout=$(layout)" "target=$BATS_TEST_TMPDIR/target" _noop=true
  answer '[.disks[].verdict] | unique | join(" ")' unchanged
  answer ".states[\"array both\", \"group $group\", \"filesystem $group/root-fs\"]" $'right\nhidden\nhidden'
  task disk::setup "layout=$(layout)" "target=$BATS_TEST_TMPDIR/target"
  ((status == 0))
  answer '[.disks[].verdict] | unique | join(" ")' unchanged
  answer '.made | join(", ")' "mount $group/root-fs"
  on_machine umount "$BATS_TEST_TMPDIR/target"
  # And taken down again, by a task that knows nothing of how it was built.
  on_disks disk::wipe "${DISKS[@]}"
  ((status == 0))
}

@test 'NVMe: a real controller with two namespaces is formatted, both, and nothing is left' {
  [[ $(cat /sys/block/nvme1n1/device/serial 2>/dev/null) == URTEST* ]] || skip 'this machine has no NVMe controller made for tests'
  local disk
  DISKS+=(/dev/nvme1n1 /dev/nvme1n2)
  for disk in /dev/nvme1n1 /dev/nvme1n2; do printf 'a secret' | dd of="$disk" bs=1 seek=$((33 << 20)) conv=notrunc,fsync status=none; done
  task disk::erase 'select=[{"name":"/dev/nvme1n1"}]' 'confirm_serials=["URTEST"]'
  refused 'its controller may erase /dev/nvme1n2 too'
  task disk::erase 'select=[{"serial":"URTEST"}]' 'confirm_serials=["URTEST"]' samples=8
  DISKS=("${DISKS[@]:0:2}")
  ((status == 0))
  answer '[.disks[] | .method, .samples.survived] | unique | tojson' '[0,"nvme-format-user"]'
  is_blank /dev/nvme1n1
  is_blank /dev/nvme1n2
}
