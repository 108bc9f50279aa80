#!/usr/bin/env bats
# disk::setup, on real block devices.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031,SC2153

bats_require_minimum_version 1.5.0
load machine

setup() {
  setup_machine
  add_disk
  TARGET=$BATS_TEST_TMPDIR/target
  mkdir "$TARGET"
}

teardown() {
  teardown_machine
}

build() { # <layout> [<parameter>=<value>…]: with $DISK as a
  task disk::setup "layout=$(jq -c --arg name "$DISK" '.disks.a = {$name}' <<<"$1")" "target=$TARGET" "${@:2}"
}

readonly SIMPLE='{"partitions":[
    {"disk":"a","name":"efi","size":"8M","type":"esp"},
    {"disk":"a","name":"swap","size":"8M","type":"swap"},
    {"disk":"a","name":"boot","size":"16M"},
    {"disk":"a","name":"system","size":"rest"}],
  "filesystems":[
    {"on":"efi","type":"vfat","label":"EFI"},
    {"on":"swap","type":"swap"},
    {"on":"boot","type":"ext4","label":"boot","mount":"/boot","options":"noatime"},
    {"on":"system","type":"ext4","label":"system","mount":"/"}]}'

@test 'a blank disk gets partitions, file systems, mounts and fstab' {
  build "$SIMPLE"
  ((status == 0))
  answer '.disks[0].verdict' built
  diff - <(on_machine findmnt --noheadings --list --output FSTYPE,LABEL --submounts "$TARGET" | tr -s ' ') <<<$'ext4 system\next4 boot'
  [[ $(blkid --probe --output value --match-tag TYPE "${DISK}p1") == vfat ]]
  [[ $(blkid --probe --output value --match-tag TYPE "${DISK}p2") == swap ]]
  answer '.states | [.[]] | unique | join(" ")' right
}

@test 'fstab has one line for each, by UUID, and keeps what others wrote' {
  build "$SIMPLE"
  on_machine sed -i '1i # /boot is made by Ur\nproc /proc proc defaults 0 0' "$TARGET/etc/fstab"
  build "$SIMPLE"
  diff - <(on_machine sed -E 's/UUID=[^ ]+/UUID/' "$TARGET/etc/fstab") <<'END'
# /boot is made by Ur
proc /proc proc defaults 0 0
UUID none swap defaults 0 0
UUID / ext4 defaults 0 1
UUID /boot ext4 noatime 0 2
END
}

@test 'a second run changes nothing, mounted or not' {
  build "$SIMPLE"
  sync
  sfdisk --dump "$DISK" >"$BATS_TEST_TMPDIR/table"
  blkid --probe "${DISK}p1" "${DISK}p2" "${DISK}p3" "${DISK}p4" >"$BATS_TEST_TMPDIR/signatures"
  build "$SIMPLE"
  ((status == 0))
  answer '.disks[0].verdict, (.made | length)' $'unchanged\n0'
  on_machine umount --recursive "$TARGET"
  build "$SIMPLE"
  ((status == 0))
  answer '.disks[0].verdict, (.made | join(", "))' $'unchanged\nmount system, mount boot'
  sfdisk --dump "$DISK" | diff "$BATS_TEST_TMPDIR/table" -
  blkid --probe "${DISK}p1" "${DISK}p2" "${DISK}p3" "${DISK}p4" | diff "$BATS_TEST_TMPDIR/signatures" -
}

@test 'a run that was interrupted before the last file system is continued' {
  build "$SIMPLE"
  on_machine umount --recursive "$TARGET"
  wipefs --all --quiet "${DISK}p4"
  build "$SIMPLE"
  ((status == 0))
  answer '.made | join(", ")' 'filesystem system, mount system, mount boot'
}

@test 'the table is there for the kernel before anything is made on it, on 4096-byte sectors too' {
  add_disk 64M 4096
  build '{"partitions":[{"disk":"a","name":"one","size":"rest"}],"filesystems":[{"on":"one","type":"ext4"}]}'
  ((status == 0))
  [[ -b ${DISK}p1 ]]
}

@test 'with --noop the differences are told, and nothing is written' {
  build "$SIMPLE" _noop=true
  ((status == 0))
  answer '.disks[0].verdict, .states["table a"], .states["filesystem system"]' $'would-build\nabsent\nabsent'
  cmp --bytes=$((64 << 20)) "$DISK" /dev/zero
}

refused() { # <words of the reason>: and nothing was written
  ((status != 0))
  answer '._error.kind' disk/refused
  [[ $(jq -r '._error.msg' <<<"$output") == *"$1"* ]]
  sync
  sha256sum --check --quiet "$BATS_TEST_TMPDIR/sum"
}

remember() {
  sync
  sha256sum "$DISK" >"$BATS_TEST_TMPDIR/sum"
}

@test 'a disk that holds something else is refused, with what it holds' {
  mkfs.ext4 -q "$DISK"
  remember
  build "$SIMPLE"
  refused "table a: it holds ext4; force does not name it: $(serial_of "$DISK")"
}

@test 'a disk on which two file systems can be seen is not taken for blank' {
  mkfs.ext4 -q "$DISK"
  ambivalent "$DISK"
  remember
  build '{"filesystems":[{"on":"a","type":"ext4"}]}'
  refused 'filesystem a: it holds unclear'
}

@test 'what is built on a whole disk does not take the place of its partition table' {
  sgdisk --new=1:0:+16M "$DISK" >/dev/null
  remember
  build '{"filesystems":[{"on":"a","type":"ext4"}]}'
  refused 'filesystem a: it holds gpt'
}

@test 'a file system on a blank partition is not made while another one of the disk is mounted' {
  build "$SIMPLE"
  on_machine umount "$TARGET/boot"
  wipefs --all --quiet "${DISK}p3"
  remember
  build "$SIMPLE"
  refused 'is mounted on'
}

@test 'partitions that differ are refused, with the difference' {
  sgdisk --new=1:0:+16M --change-name=1:other "$DISK" >/dev/null
  remember
  build "$SIMPLE"
  refused 'its partitions are: other 16777216'
}

@test 'a file system that differs is refused' {
  build "$SIMPLE"
  on_machine umount --recursive "$TARGET"
  mkfs.ext4 -q -F -L other "${DISK}p4"
  remember
  build "$SIMPLE"
  refused 'filesystem system: it holds ext4 other; wanted: ext4 system'
}

@test 'force rebuilds the disk whose serial number it names' {
  mkfs.ext4 -q "$DISK"
  build "$SIMPLE" "force=[\"$(serial_of "$DISK")\"]"
  ((status == 0))
  answer '.disks[0].verdict' built
}

@test 'a file system that this kernel cannot mount is refused before anything is made' {
  ! grep -qw vfat /proc/filesystems || skip 'this kernel has vfat'
  remember
  build '{"partitions":[{"disk":"a","name":"efi","size":"8M"}],"filesystems":[{"on":"efi","type":"vfat","mount":"/efi"}]}'
  ((status != 0))
  answer '._error.msg | contains("cannot mount vfat")' true
  sha256sum --check --quiet "$BATS_TEST_TMPDIR/sum"
}

@test 'force does not help against a disk in use' {
  mkfs.ext4 -q "$DISK"
  on_machine mount -o ro "$DISK" /mnt
  remember
  build "$SIMPLE" "force=[\"$(serial_of "$DISK")\"]"
  refused 'is mounted on /mnt'
}

@test 'ZFS: a pool gets its vdevs and datasets in their order, and a second run changes nothing' {
  local shim
  export POOLS=$BATS_TEST_TMPDIR/pools
  SHIMS=$BATS_TEST_TMPDIR/shims
  mkdir "$SHIMS" "$POOLS"
  for shim in zpool zfs; do ln -s "$BATS_TEST_DIRNAME/shims/zpool-shim" "$SHIMS/$shim"; done
  add_disk
  local layout
  layout=$(jq -cn --arg b "${DISKS[0]}" '{disks: {b: {name: $b}}, partitions: [{disk: "a", name: "za", size: "rest", type: "zfs"},
    {disk: "b", name: "zb", size: "rest", type: "zfs"}], pools: [{name: "zones", vdevs: [{type: "mirror", on: ["za", "zb"]}],
    properties: {compression: "lz4"}, datasets: [{name: "var", properties: {atime: "off"}}]}]}')
  build "$layout"
  ((status == 0))
  grep -qx "zpool create -R $TARGET -O compression=lz4 zones mirror ${DISK}p1 ${DISKS[0]}p1" "$POOLS/calls"
  build "$layout"
  ((status == 0))
  answer '.made | length' 0
  [[ $(grep -cE '^(zpool create|zfs create|zfs set)' "$POOLS/calls") == 3 ]]
  grep -qx 'zfs set atime=off zones/var' "$POOLS/calls"
}

@test 'a hint that means two disks is refused' {
  add_disk
  task disk::setup 'layout={"disks":{"a":{"class":"loop"}}}'
  ((status != 0))
  answer '._error.kind' ur/hint
}

@test 'a layout that refers to nothing, has a name twice, or a size that is none, is refused' {
  build '{"filesystems":[{"on":"nothing","type":"ext4"}]}'
  answer '._error.kind, (._error.msg | contains("something lies on nothing"))' $'disk/layout\ntrue'
  build '{"partitions":[{"disk":"a","name":"x","size":"1M"},{"disk":"a","name":"x","size":"rest"}]}'
  answer '._error.msg | contains("two things named x")' true
  build '{"partitions":[{"disk":"a","name":"x","size":"many"}]}'
  answer '._error.msg | contains("many is no size")' true
}

built_nothing() { # <words of the reason>: the layout was refused before the first write
  ((status != 0))
  answer '._error.kind' disk/layout
  [[ $(jq -r '._error.msg' <<<"$output") == *"$1"* ]] || return
  sync
  cmp --bytes=$((64 << 20)) "$DISK" /dev/zero
}

one_partition() { # <its size> [<its file system, JSON>]
  build "{\"partitions\":[{\"disk\":\"a\",\"name\":\"x\",\"size\":\"$1\"}],\"filesystems\":[${2:-}]}"
}

@test 'sizes that no table can have, or the disk has no room for, are refused before the first write' {
  one_partition 10001K
  built_nothing 'partition x: 10241024 bytes are no whole number of MiB'
  one_partition 0M
  built_nothing 'partition x: 0 bytes are no whole number of MiB'
  one_partition 63M
  built_nothing 'partition x: 66060288 bytes are wanted, and 65011712 of disk a are left for it'
  build '{"partitions":[{"disk":"a","name":"x","size":"62M"},{"disk":"a","name":"y","size":"rest"}]}'
  built_nothing 'partition y: nothing of disk a is left for it'
  build '{"partitions":[{"disk":"a","name":"x","size":"rest"},{"disk":"a","name":"y","size":"1M"}]}'
  built_nothing 'disk a: what takes the rest must be the last'
}

@test 'the largest partition that is not refused can be made' {
  one_partition 62M
  ((status == 0))
}

@test 'the largest partition that is not refused can be made on 4096-byte sectors' {
  add_disk 64M 4096
  one_partition 62M
  ((status == 0))
}

@test 'a label or a size that the type of file system cannot have is refused before the first write' {
  one_partition 40M '{"on":"x","type":"vfat","label":"EFI-SYSTEM-01"}'
  built_nothing 'filesystem x: the program that makes vfat refuses'
  one_partition 40M '{"on":"x","type":"ext4","label":"sixteen-bytes-äöü"}'
  built_nothing 'filesystem x: ext4 cannot have the label'
  one_partition 40M '{"on":"x","type":"swap","label":"sixteen-letters!"}'
  built_nothing 'filesystem x: swap cannot have the label'
  ! command -v mkfs.btrfs || {
    one_partition 40M '{"on":"x","type":"btrfs"}'
    built_nothing 'filesystem x: the program that makes btrfs refuses'
  }
}

fits() { # <layout>: what guard_fits says of it, on $DISK, without the programs of LVM and md
  bash -euo pipefail -c '
    export PT__installdir=$1
    source "$1/ur/files/ur.sh"
    source "$1/disk/files/layout.sh"
    source "$1/disk/files/fits.sh"
    read_layout "$2"
    disk_of=([a]=sda [b]=sdb)
    declare -A disk_fact=()
    for disk in sda sdb; do disk_fact["$disk bytes"]=$((64 << 20)) disk_fact["$disk sector"]=512; done
    declare -A state=()
    while IFS=$'"'\t'"' read -r kind name; do state["$kind $name"]=absent; done < <(want things)
    guard_fits
    result "{}"' - "$SCRIPTS" "$1" 2>/dev/null || true
}

@test 'volumes that are too large, and arrays and pools of too few members, are known before the first write' {
  local two='"disks":{"a":{"name":"a"},"b":{"name":"b"}}'
  output=$(fits "{$two,\"groups\":[{\"name\":\"g\",\"on\":[\"a\",\"b\"],\"volumes\":[{\"name\":\"v\",\"size\":\"120M\"}]}]}")
  [[ $output == '{}' ]]
  output=$(fits "{$two,\"groups\":[{\"name\":\"g\",\"on\":[\"a\",\"b\"],\"volumes\":[{\"name\":\"v\",\"size\":\"100M\"},{\"name\":\"w\",\"size\":\"24M\"}]}]}")
  [[ $output == *'volume g/w: 25165824 bytes are wanted, and 20971520 of group g are left for it'* ]]
  output=$(fits "{$two,\"arrays\":[{\"name\":\"m\",\"level\":\"raid1\",\"on\":[\"a\",\"b\"]}],\"groups\":[{\"name\":\"g\",\"on\":[\"m\"],\"volumes\":[{\"name\":\"v\",\"size\":\"64M\"}]}]}")
  [[ $output == *'volume g/v: 67108864 bytes are wanted'* ]]
  output=$(fits "{$two,\"arrays\":[{\"name\":\"m\",\"level\":\"raid6\",\"on\":[\"a\",\"b\"]}]}")
  [[ $output == *'array m: raid6 takes 4 members at least, not 2'* ]]
  output=$(fits "{$two,\"pools\":[{\"name\":\"p\",\"vdevs\":[{\"on\":[\"a\"]},{\"type\":\"mirror\",\"on\":[\"b\"]}]}]}")
  [[ $output == *'pool p: mirror takes 2 members at least, not 1'* ]]
}

@test 'a layout in which two things have one place is refused' {
  build '{"partitions":[{"disk":"a","name":"x","size":"rest"}],"filesystems":[{"on":"x","type":"ext4"},{"on":"x","type":"swap"}]}'
  built_nothing 'two things lie on x'
  build '{"partitions":[{"disk":"a","name":"x","size":"rest"}],"filesystems":[{"on":"a","type":"ext4"}]}'
  built_nothing 'two things lie on a'
  build '{"partitions":[{"disk":"a","name":"x","size":"8M"},{"disk":"a","name":"y","size":"rest"}],
    "filesystems":[{"on":"x","type":"ext4","mount":"/srv"},{"on":"y","type":"ext4","mount":"/srv/"}]}'
  built_nothing 'two file systems are mounted on /srv'
}

@test 'a mount point is named in fstab whatever characters it has, but for those that no line can hold' {
  build '{"partitions":[{"disk":"a","name":"d","size":"rest"}],"filesystems":[{"on":"d","type":"ext4","mount":"/srv/my #1\\data"}]}'
  ((status == 0))
  [[ $(findmnt --tab-file "$TARGET/etc/fstab" --noheadings --raw --output TARGET) == '/srv/my\x20#1\x5cdata' ]]
  build '{"partitions":[{"disk":"a","name":"d","size":"rest"}],"filesystems":[{"on":"d","type":"ext4","mount":"/srv/my #1\\data"}]}'
  ((status == 0))
  [[ $(wc -l <"$TARGET/etc/fstab") == 1 ]]
  build '{"partitions":[{"disk":"a","name":"d","size":"rest"}],"filesystems":[{"on":"d","type":"ext4","mount":"/srv/a\nb"}]}'
  answer '._error.kind, (._error.msg | contains("control character"))' $'disk/layout\ntrue'
  build '{"partitions":[{"disk":"a","name":"d","size":"rest"}],"filesystems":[{"on":"d","type":"ext4","mount":"/srv/../../etc"}]}'
  answer '._error.kind' disk/layout
}

@test 'partitions that have other numbers than the layout gives them are not taken for its own' {
  sgdisk --new=2:0:+16M --change-name=2:x --typecode=2:8300 "$DISK" >/dev/null
  remember
  one_partition 16M
  refused 'its partitions are: number 2 x 16777216'
}

@test 'jq, which is slow to start, is started 6 times at most' {
  starts_jq_at_most 6 build "$SIMPLE" _noop=true
  starts_jq_at_most 6 build "$SIMPLE"
  answer '.disks[0].verdict' built
  starts_jq_at_most 6 build "$SIMPLE"
  answer '.disks[0].verdict' unchanged
}
