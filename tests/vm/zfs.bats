#!/usr/bin/env bats
# zpool::create with real ZFS: its module built for the ramdisk's kernel (boot/zfs), on a machine that has no udev.

load vm
load tasks

setup_file() {
  [[ -e $BATS_TEST_DIRNAME/../../target/ramdisk${SUITE:+-$SUITE}/zfs/initramfs ]] || skip 'its ramdisk takes ten minutes: make ramdisk PROFILE=zfs'
  load_ramdisk zfs
  switch_on
}

switch_on() {
  local name
  for name in A B C; do attach "$name" 256M "virtio-blk-pci,serial=POOL-$name"; done
  MEMORY=1G boot 1
  await 300 node 1 '.Disks | length == 3'
}

teardown() { tell_consoles; }

teardown_file() { power_off_all; }

readonly select='[{"serial":"POOL-A"},{"serial":"POOL-B"}]'

create() { # [<argument>…]: a mirror of two disks
  run_task --yes zpool::create "select=$select" 'confirm_serials=["POOL-A","POOL-B"]' "$@"
}

@test 'where there is no pool yet, none is listed' {
  run_task zpool::status
  ((status == 0))
  answer '.pools | length' 0
}

@test 'two blank disks become a mirror that has been written, read again and found healthy' {
  create
  ((status == 0))
  answer '[.verdict, .layout.layout, .status.verdict] | @csv' '"created","mirror","good"'
  answer '[.disks[] | select(.verdict == "in-pool").serial] | sort | join(" ")' 'POOL-A POOL-B'
  on_node 'echo kept >/zones/kept; sync'
  run_task zpool::status
  answer '.pools[] | [.pool, .health, .verdict] | @csv' '"zones","ONLINE","good"'
}

@test 'a second run leaves the pool alone' {
  create
  ((status == 0))
  answer .verdict already
}

@test 'after the power was off, the pool, which no boot imports, is imported, and not made anew' {
  power_off 1
  switch_on
  run_task zpool::status
  answer '.pools | length' 0
  create --noop
  answer .verdict would-import
  # On other disks than it lies on, the name is taken.
  run_task --yes zpool::create 'select=[{"serial":"POOL-C"}]' 'confirm_serials=["POOL-C"]'
  answer ._error.kind zpool/exists
  create
  ((status == 0))
  answer '[.verdict, .status.verdict] | @csv' '"already","good"'
  [[ $(on_node 'cat /zones/kept') == kept ]]
}

@test 'the disk that was not chosen has not been written to' {
  cmp -n "$((256 << 20))" "$MACHINES/C.img" /dev/zero
}
