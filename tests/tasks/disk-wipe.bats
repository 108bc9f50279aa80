#!/usr/bin/env bats
# disk::wipe, on real block devices.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031,SC2153

bats_require_minimum_version 1.5.0
load machine

setup() {
  setup_machine
  add_disk
}

teardown() {
  teardown_machine
}

wipe() { # <disk>… [-- <parameter>=<value>…]: wipes exactly these, all confirmed
  local select=() serials=()
  while (($#)) && [[ $1 != -- ]]; do
    select+=("{\"name\":\"$1\"}")
    serials+=("\"$(serial_of "$1")\"")
    shift
  done
  shift || true
  local IFS=,
  task disk::wipe "select=[${select[*]}]" "confirm_serials=[${serials[*]}]" "$@"
}

partition() { # <disk> <sgdisk's arguments>
  sgdisk "${@:2}" "$1" >/dev/null
  partx --update --nr 1:256 "$1"
}

looks_new() { # <disk>
  [[ -z $(wipefs --noheadings "$1") ]]
}

@test 'a partitioned disk looks new afterwards, and so do its partitions when the table is restored' {
  partition "$DISK" --new=1:0:+20M --new=2:0:0
  mkfs.ext4 -q "${DISK}p1"
  mkswap "${DISK}p2" >/dev/null
  wipe "$DISK"
  ((status == 0))
  answer '.disks[0].verdict' wiped
  looks_new "$DISK"
  partition "$DISK" --new=1:0:+20M --new=2:0:0
  looks_new "${DISK}p1"
  looks_new "${DISK}p2"
}

@test 'a table that the kernel has not looked at yet is honoured, inside out' {
  partition "$DISK" --new=1:0:0
  mkfs.ext4 -q "${DISK}p1"
  partx --delete "$DISK"
  wipe "$DISK"
  ((status == 0))
  partition "$DISK" --new=1:0:0
  looks_new "${DISK}p1"
}

@test 'the result says what the disk held, and who it is' {
  partition "$DISK" --new=1:0:0
  mkfs.ext4 -q "${DISK}p1"
  wipe "$DISK"
  answer '.disks[0].held | index("gpt") != null and index("ext4") != null' true
  answer '.disks[0].path' "$DISK"
  answer '.disks[0].serial' "$(serial_of "$DISK")"
}

@test 'partitions are found whatever their numbers are, and their signatures go' {
  partition "$DISK" --new=14:0:+4M --new=15:0:+16M --new=1:0:0
  mkfs.ext4 -q "${DISK}p1"
  mkfs.vfat "${DISK}p15" >/dev/null
  wipe "$DISK"
  ((status == 0))
  answer '.disks[0].held | index("vfat") != null and index("ext4") != null' true
  partition "$DISK" --new=14:0:+4M --new=15:0:+16M --new=1:0:0
  looks_new "${DISK}p1"
  looks_new "${DISK}p15"
}

@test 'logical partitions are found, and their signatures go' {
  printf 'label: dos\nsize=8MiB, type=83\ntype=5\nsize=8MiB, type=83\ntype=83\n' | sfdisk --quiet "$DISK"
  partx --update --nr 1:256 "$DISK"
  mkfs.ext4 -q "${DISK}p6"
  wipe "$DISK"
  ((status == 0))
  answer '.disks[0].verdict, (.disks[0].held | index("ext4") != null)' $'wiped\ntrue'
  printf 'label: dos\nsize=8MiB, type=83\ntype=5\nsize=8MiB, type=83\ntype=83\n' | sfdisk --quiet "$DISK"
  partx --update --nr 1:256 "$DISK"
  looks_new "${DISK}p6"
}

@test 'the data between the ends stays' {
  printf secret | dd of="$DISK" bs=1 seek=$((30 << 20)) conv=notrunc status=none
  wipe "$DISK"
  [[ $(dd if="$DISK" bs=1 skip=$((30 << 20)) count=6 status=none) == secret ]]
}

@test 'the backup table and what else lies at the end of the disk is gone' {
  partition "$DISK" --new=1:0:0
  wipe "$DISK"
  [[ -z $(tail -c 1048576 "$DISK" | tr -d '\0') ]]
}

@test 'wiping twice does no harm' {
  wipe "$DISK"
  wipe "$DISK"
  ((status == 0))
  answer '.disks[0].verdict' wiped
}

@test 'a disk with 4096-byte sectors is wiped like any other' {
  add_disk 64M 4096
  partition "$DISK" --new=1:0:0
  mkfs.ext4 -q "${DISK}p1"
  wipe "$DISK"
  ((status == 0))
  looks_new "$DISK"
}

@test 'with --noop nothing is written, no confirmation is needed, and the serial numbers are listed' {
  mkfs.ext4 -q "$DISK"
  task disk::wipe "select=[{\"name\":\"$DISK\"}]" _noop=true
  ((status == 0))
  answer '.disks[0].verdict' would-wipe
  answer '.disks[0].serial' "$(serial_of "$DISK")"
  [[ $(blkid --probe --output value --match-tag TYPE "$DISK") == ext4 ]]
}

twins() { # <tran: ata or end_device>: makes the two DISKS drives of one serial number, WWN and size, one behind the other
  local disk number=0 name hardware
  pretend scsi "${DISKS[0]}"
  DRIVES=()
  on_machine rm -rf /sys/block/sda /sys/class/block/sda /dev/sda
  for disk in "$2" "$3"; do
    name=sd$(printf '%b' "\\x$((61 + number))")
    hardware=$DRIVE/$1-$number/$number:0:0:0
    mkdir -p "$hardware"
    printf 'SEAGATE\n' >"$hardware/vendor"
    printf 'naa.5000c500a1b2c3d4\n' >"$hardware/wwid"
    printf '\0\x80\0\x08  SD0001' >"$hardware/vpd_pg80"
    show_drive "$name" "$(readlink -f "/sys/block/${disk##*/}")" "$hardware"
    number=$((number + 1))
  done
}

@test 'the second path to a drive is left alone, after it was shown to be one' {
  mkfs.ext4 -q "$DISK"
  twins end_device "$DISK" "$DISK"
  task disk::wipe 'confirm_serials=["SD0001"]'
  ((status == 0))
  answer '[.disks[] | "\(.path) \(.verdict)"] | sort | join(", ")' '/dev/sda wiped, /dev/sdb skipped'
  looks_new "$DISK"
}

@test 'a drive that only says that it is the second path to another is named, and the wipe is no success' {
  local first=$DISK
  add_disk
  mkfs.ext4 -q "$DISK"
  twins end_device "$first" "$DISK"
  task disk::wipe 'confirm_serials=["SD0001"]'
  ((status != 0))
  answer '[.disks[] | "\(.path) \(.verdict)"] | sort | join(", ")' '/dev/sda wiped, /dev/sdb failed'
  answer '.disks[] | select(.path == "/dev/sdb").reason | contains("it is another drive")' true
  task disk::erase level=clear samples=6 'confirm_serials=["SD0001"]'
  ((status != 0))
  answer '[.disks[] | "\(.path) \(.verdict)"] | sort | join(", ")' '/dev/sda erased, /dev/sdb failed'
}

@test 'a disk that cannot be read after it was wiped does not cost the others their verdicts' {
  local first=$DISK
  add_disk
  mkdir "$BATS_TEST_TMPDIR/bin"
  SHIMS=$BATS_TEST_TMPDIR/bin
  printf '#!/bin/sh\ncase "$*" in *DEVICE,TYPE*%s) exit 1 ;; esac\nexec %s "$@"\n' "$DISK" "$(command -v wipefs)" >"$SHIMS/wipefs"
  chmod +x "$SHIMS/wipefs"
  wipe "$first" "$DISK"
  ((status != 0))
  answer '._error.kind, (.disks | map(.verdict) | sort | join(" "))' $'disk/failed\nfailed wiped'
}

# What follows is refused, and after a refusal the disk is what it was before.

refused() { # <words of the reason>: checks that the last task refused, and wrote nothing to any disk
  ((status != 0))
  answer '._error.kind' disk/refused
  [[ $(jq -r '._error.msg' <<<"$output") == *"$1"* ]]
  diff <(sums) "$BATS_TEST_TMPDIR/sums"
}

sums() {
  sync
  sha256sum "${DISKS[@]}"
}

remember() {
  sums >"$BATS_TEST_TMPDIR/sums"
}

@test 'a serial number that was not confirmed refuses, and is named' {
  mkfs.ext4 -q "$DISK"
  remember
  task disk::wipe "select=[{\"name\":\"$DISK\"}]"
  refused "confirm_serials does not name it: $(serial_of "$DISK")"
}

@test 'a confirmed serial number that no chosen disk has refuses' {
  remember
  wipe "$DISK" -- "confirm_serials=[\"$(serial_of "$DISK")\",\"S9\"]"
  refused 'confirm_serials names S9'
}

@test 'a mounted disk refuses, and with it the others: no disk is written before all are found free' {
  local free=$DISK
  add_disk
  partition "$DISK" --new=1:0:0
  mkfs.ext4 -q "${DISK}p1"
  on_machine mount -o ro "${DISK}p1" /mnt
  remember
  wipe "$free" "$DISK"
  refused "${DISK}p1 is mounted on /mnt"
  answer ".disks[] | select(.path == \"$free\") | .verdict" untouched
  answer ".disks[] | select(.path == \"$DISK\") | .verdict" refused
}

@test 'a read-only disk that was chosen refuses' {
  blockdev --setro "$DISK"
  remember
  wipe "$DISK"
  blockdev --setrw "$DISK"
  refused 'it is read-only'
}

@test 'VMFS is found by the type of its partition, whatever the case of the letters and on any partition' {
  partition "$DISK" --new=1:0:+10M --new=2:0:0 --typecode=2:AA31E02A-400F-11DB-9590-000C2911D1B8
  remember
  wipe "$DISK"
  refused 'cluster file system that other machines may use: aa31e02a-400f-11db-9590-000c2911d1b8'
}

@test 'VMFS and GPFS are found although the kernel does not know the partitions' {
  partition "$DISK" --new=1:0:+10M --typecode=1:37AFFC90-EF7D-4E96-91C3-2D7AE055B174
  partx --delete "$DISK"
  remember
  wipe "$DISK"
  refused 'cluster file system'
}

@test 'GFS2 is found by its signature on a partition' {
  partition "$DISK" --new=1:0:+10M --new=2:0:0
  # The superblock at 64 KiB: magic, type and generation, format 1801, multihost format 1900.
  printf '\x01\x16\x19\x70\0\0\0\x01%016d\0\0\x07\x09\0\0\x07\x6c' 0 | tr 0 '\0' \
    | dd of="${DISK}p2" bs=1k seek=64 conv=notrunc status=none
  [[ $(blkid --probe --output value --match-tag TYPE "${DISK}p2") == gfs2 ]]
  remember
  wipe "$DISK"
  refused 'cluster file system that other machines may use: gfs2'
  # util-linux 2.41 names none of several signatures, and reports no more of them than of a blank partition.
  ambivalent "${DISK}p2"
  remember
  wipe "$DISK"
  refused 'a cluster file system'
}

@test 'allow_shared wipes a cluster file system' {
  partition "$DISK" --new=1:0:0 --typecode=1:AA31E02A-400F-11DB-9590-000C2911D1B8
  wipe "$DISK" -- allow_shared=true
  ((status == 0))
  looks_new "$DISK"
}

@test 'a hint that means no disk is an error, also in skip' {
  remember
  wipe "$DISK" -- 'skip=[{"serial":"typo"}]'
  ((status != 0))
  answer '._error.kind' ur/hint
  diff <(sums) "$BATS_TEST_TMPDIR/sums"
}

@test 'a skipped disk is left alone, and the result says why' {
  local other=$DISK
  mkfs.ext4 -q "$other"
  add_disk
  task disk::wipe "select=[{\"name\":\"$DISK\"},{\"name\":\"$other\"}]" "skip=[{\"serial\":\"$(serial_of "$other")\"}]" \
    "confirm_serials=[\"$(serial_of "$DISK")\"]"
  ((status == 0))
  answer ".disks[] | select(.path == \"$other\") | .verdict" skipped
  [[ $(blkid --probe --output value --match-tag TYPE "$other") == ext4 ]]
}

@test 'a disk of which nobody can say what it holds may hold what others use: it is refused' {
  mkfs.ext4 -q "$DISK"
  ambivalent "$DISK"
  wipe "$DISK"
  ((status != 0))
  [[ $(jq -r '._error.msg' <<<"$output") == *'may hold a cluster file system'* ]]
  wipe "$DISK" -- allow_shared=true
  ((status == 0))
}

@test 'a disk that another task is changing is refused' {
  mkfs.ext4 -q "$DISK"
  exec {lock}>"/run/lock/ur-disk-$(cat "/sys/block/${DISK##*/}/dev")"
  flock --exclusive --nonblock "$lock"
  wipe "$DISK"
  [[ $(jq -r '._error.msg' <<<"$output") == *'another task is changing it'* ]]
  exec {lock}>&-
  wipe "$DISK"
  ((status == 0))
}

@test 'a disk that a program only reads, and one that a loop device plays again, are refused' {
  local again
  exec {open}<"$DISK"
  wipe "$DISK"
  [[ $(jq -r '._error.msg' <<<"$output") == *"$DISK is open in process"* ]]
  exec {open}<&-
  again=$(losetup --find --show "$DISK")
  wipe "$DISK"
  losetup --detach "$again"
  [[ $(jq -r '._error.msg' <<<"$output") == *"$again lies on it"* ]]
}

@test 'jq, which is slow to start, is started 5 times at most' {
  starts_jq_at_most 5 wipe "$DISK" -- _noop=true
  answer '.disks[0].verdict' would-wipe
  starts_jq_at_most 5 wipe "$DISK"
  answer '.disks[0].verdict' wiped
}
