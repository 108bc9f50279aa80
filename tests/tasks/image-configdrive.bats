#!/usr/bin/env bats
# image::configdrive, on real block devices. What is on the drive afterwards is read by mtools and xorriso, and by the
# kernel where that knows the file system (tools/in-vm).

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031

bats_require_minimum_version 1.5.0
load machine
load http

setup() {
  setup_machine
  add_disk 400M
}

teardown() {
  stop_server
  teardown_machine
}

image() { # <disk> [<sfdisk's lines>]: a disk as an image leaves it: an ESP and a root at the end of what is written
  sfdisk --quiet "$1" <<<"${2:-$'label: gpt\nsize=20M, type=uefi\nsize=100M, type=linux, name=root'}"
  partx --update "$1"
  mkfs.ext4 -q "$1p2"
}

drive() { # [<parameter>=<value>…]: to TARGET, or the disk that was added last, confirmed
  local device=${TARGET:-$DISK}
  task image::configdrive "disk={\"name\":\"$device\"}" "confirm_serials=[\"$(serial_of "$device")\"]" "$@"
}

read_drive() { # sets READ to a directory with what the drive holds
  local partition
  partition=$(jq -r .partition <<<"$output")
  READ=$BATS_TEST_TMPDIR/read
  rm -rf "$READ"
  mkdir "$READ"
  case $(blkid --probe --output value --match-tag TYPE "$partition") in
    vfat) MTOOLS_SKIP_CHECK=1 mcopy -s -n -i "$partition" ::/ "$READ" ;;
    iso9660) xorriso -osirrox on -indev "stdio:$partition" -extract / "$READ" 2>/dev/null ;;
  esac
  # The kernel's own reading, where it can.
  if grep -qwE 'iso9660|vfat' /proc/filesystems; then [[ $(jq .mounted <<<"$output") == true ]]; fi
}

holds() { # <file> <text>
  diff <(printf '%s' "$2") "$READ/$1"
}

elsewhere() { # <filesystem> [<label>]: sets MADE to a config drive of that kind
  local tree=$BATS_TEST_TMPDIR/elsewhere
  MADE=$BATS_TEST_TMPDIR/made
  mkdir -p "$tree/openstack/latest"
  printf '{"uuid":"elsewhere"}' >"$tree/openstack/latest/meta_data.json"
  case $1 in
    iso9660) xorriso -as mkisofs -quiet -volid "${2:-config-2}" -joliet -rational-rock -output "$MADE" "$tree" ;;
    vfat)
      truncate --size 4M "$MADE"
      mkfs.vfat -n "${2:-CONFIG-2}" "$MADE"
      mcopy -s -i "$MADE" "$tree/openstack" ::/
      ;;
  esac
}

sums() {
  sync
  sha256sum "${DISKS[@]}"
}

refused() { # <words of the reason>: checks that the last task refused, and wrote nothing to any disk
  ((status != 0))
  [[ $(jq -r '._error.msg' <<<"$output") == *"$1"* ]]
  diff <(sums) "$BATS_TEST_TMPDIR/sums"
}

remember() {
  sums >"$BATS_TEST_TMPDIR/sums"
}

@test 'meta data, user data, network data and files lie where OpenStack puts them' {
  image "$DISK"
  drive 'meta_data={"uuid":"u1","hostname":"n1"}' $'user_data=#!/bin/sh\necho hello' 'network_data={"links":[]}' \
    'files={"/etc/motd":"hello\n","/opt/blob":{"base64":"AAEC/w=="}}'
  ((status == 0))
  answer '[.verdict, .filesystem, .reused] | @csv' '"written","iso9660",false'
  answer '.files | length' 5
  read_drive
  holds openstack/latest/user_data $'#!/bin/sh\necho hello'
  diff <(printf '{"links":[]}\n') <(jq -c . "$READ/openstack/latest/network_data.json")
  diff <(jq -c '[.uuid, .hostname]' "$READ/openstack/latest/meta_data.json") <(printf '["u1","n1"]\n')
  diff <(jq -c '.files[]' "$READ/openstack/latest/meta_data.json") - <<'END'
{"path":"/etc/motd","content_path":"/content/0000"}
{"path":"/opt/blob","content_path":"/content/0001"}
END
  holds openstack/content/0000 $'hello\n'
  cmp "$READ/openstack/content/0001" <(printf '\0\1\2\377')
}

@test 'without meta data the instance has the UUID of the node' {
  image "$DISK"
  UR_NODE=00000000-0000-4000-8000-000000000001 drive user_data=x
  read_drive
  diff <(jq -r .uuid "$READ/openstack/latest/meta_data.json") <(printf '00000000-0000-4000-8000-000000000001\n')
  [[ ! -e $READ/openstack/latest/network_data.json ]]
}

@test 'FAT holds the same' {
  image "$DISK"
  drive filesystem=vfat 'meta_data={"uuid":"u1"}' user_data=hello 'files={"/etc/motd":"hello"}'
  ((status == 0))
  answer .filesystem vfat
  read_drive
  holds openstack/latest/user_data hello
  holds openstack/content/0000 hello
  [[ $(blkid --probe --output value --match-tag LABEL "$(jq -r .partition <<<"$output")") == config-2 ]]
}

@test 'on 4096-byte sectors it is FAT with sectors of that size, also when the drive that was given is ISO 9660' {
  add_disk 400M 4096
  image "$DISK"
  drive user_data=hello
  ((status == 0))
  answer .filesystem vfat
  [[ $(blkid --probe --output value --match-tag BLOCK_SIZE "${DISK}p3") == 4096 ]]
  read_drive
  holds openstack/latest/user_data hello
  elsewhere iso9660
  gzip "$MADE"
  drive "drive=$(base64 -w 0 "$MADE.gz")"
  ((status == 0))
  answer .filesystem vfat
  [[ $(blkid --probe --output value --match-tag BLOCK_SIZE "${DISK}p3") == 4096 ]]
  read_drive
  holds openstack/latest/meta_data.json '{"uuid":"elsewhere"}'
  remember
  drive user_data=hello filesystem=iso9660
  refused 'cannot hold ISO 9660'
}

@test 'a drive made elsewhere is written byte by byte: FAT and ISO 9660, packed or not' {
  local kind
  image "$DISK"
  for kind in vfat iso9660; do
    elsewhere "$kind"
    gzip --keep --force "$MADE"
    drive "drive=$(base64 "$MADE.gz")" "sha256=$(sha256sum "$MADE" | cut -d ' ' -f 1)"
    ((status == 0))
    answer .filesystem "$kind"
    cmp --bytes="$(stat --format=%s "$MADE")" "$MADE" "${DISK}p3"
  done
}

@test 'a drive comes from a URL too, as it is or packed, and the URL is in no log and no result' {
  image "$DISK"
  start_server
  elsewhere iso9660
  gzip --stdout "$MADE" | base64 >"$WWW/packed"
  cp "$MADE" "$WWW/plain"
  local name
  for name in plain packed; do
    drive "drive=${URL/\/\////user:secret@}/$name?token=secret"
    ((status == 0))
    cmp --bytes="$(stat --format=%s "$MADE")" "$MADE" "${DISK}p3"
    run ! grep secret "$LOG" - <<<"$output"
  done
  remember
  drive "drive=$URL/none"
  refused 'could not be fetched'
}

@test 'a drive with another hash, another label, no config drive in it, or of more than 64 MiB is refused' {
  image "$DISK"
  remember
  elsewhere vfat
  gzip --keep "$MADE"
  drive "drive=$(base64 "$MADE.gz")" "sha256=$(printf '%064d' 0)"
  refused 'another sha256'
  elsewhere iso9660 cidata
  gzip --force "$MADE"
  drive "drive=$(base64 "$MADE.gz")"
  refused "its label is 'cidata'"
  mkdir "$BATS_TEST_TMPDIR/empty"
  xorriso -as mkisofs -quiet -volid config-2 -output "$BATS_TEST_TMPDIR/no" "$BATS_TEST_TMPDIR/empty"
  drive "drive=$(gzip -c "$BATS_TEST_TMPDIR/no" | base64)"
  refused 'neither openstack/latest/meta_data.json'
  drive "drive=$(head -c 70M /dev/zero | gzip -c | base64)"
  refused 'larger than 64 MiB'
}

@test 'files of more than 64 MiB are refused, never cut off' {
  image "$DISK"
  STDIN=$BATS_TEST_TMPDIR/stdin
  head -c 70000000 /dev/zero | tr '\0' a | jq -Rc '{files: {"/big": .}}' >"$STDIN"
  drive meta_data='{}'
  ((status != 0))
  answer ._error.kind image/refused
  [[ $output == *'at most 67108864'* && ! -e /sys/class/block/${DISK##*/}p3 ]]
}

@test 'a drive that came damaged is refused' {
  image "$DISK"
  elsewhere vfat
  gzip -c "$MADE" | head -c 200 | base64 --wrap=0 >"$BATS_TEST_TMPDIR/cut"
  drive drive="$(<"$BATS_TEST_TMPDIR/cut")"
  answer ._error.kind image/refused
  [[ $output == *'truncated or corrupt gzip'* ]]
}

@test 'the partition is the last of the disk, at its end and aligned; the others stay as they were' {
  image "$DISK"
  local before
  before=$(sfdisk --dump "$DISK" | grep "^${DISK}p[12]")
  drive user_data=x
  answer '[.number, .partition_bytes, .offset % 1048576] | @csv' 3,67108864,0
  (($(jq .offset <<<"$output") + (64 << 20) > (400 << 20) - (2 << 20)))
  diff <(printf '%s\n' "$before") <(sfdisk --dump "$DISK" | grep "^${DISK}p[12]")
  sgdisk --verify "$DISK" | grep 'No problems found'
}

@test 'a gap before the last partition is not taken: the place does not depend on the image' {
  image "$DISK" $'label: gpt\nsize=20M, type=uefi\nstart=200MiB, size=100M, type=linux'
  drive user_data=x
  ((status == 0))
  (($(jq .offset <<<"$output") > 300 << 20))
}

@test 'the root partition can grow up to it, by growpart' {
  image "$DISK"
  drive user_data=x
  growpart "$DISK" 2
  partx --update "$DISK"
  (($(blockdev --getsize64 "${DISK}p2") > 300 << 20))
  e2fsck -fp "${DISK}p2"
  resize2fs "${DISK}p2"
  read_drive
  holds openstack/latest/user_data x
}

@test 'a table whose second half still lies where the image ended is moved to the end of the disk' {
  local small=$BATS_TEST_TMPDIR/small
  truncate --size 130M "$small"
  sfdisk --quiet "$small" <<<$'label: gpt\nsize=20M, type=uefi\nsize=100M, type=linux'
  dd if="$small" of="$DISK" conv=notrunc,fsync status=none
  partx --update "$DISK"
  drive user_data=x
  ((status == 0))
  (($(jq .offset <<<"$output") > 300 << 20))
  sgdisk --verify "$DISK" | grep 'No problems found'
}

@test 'an MBR gets a primary partition if it has one to give; with four it is refused' {
  image "$DISK" $'label: dos\nsize=20M, type=ef\nsize=100M, type=83'
  drive user_data=hello
  ((status == 0))
  answer .number 3
  read_drive
  holds openstack/latest/user_data hello
  wipefs --quiet --all "${DISK}p3"
  sfdisk --quiet --delete "$DISK" 3
  sfdisk --quiet --append --no-reread "$DISK" <<<$'size=10M\nsize=10M'
  partx --update "$DISK"
  remember
  drive user_data=hello
  refused 'no room for one more partition'
}

@test 'beside an extended partition with free space in it, the drive is outside' {
  image "$DISK" "label: dos
    size=20M, type=ef
    size=100M, type=83
    size=100M, type=5
    ${DISK}p5: size=10M, type=83"
  drive user_data=hello
  ((status == 0))
  answer .number 4
  sfdisk --verify "$DISK"
  (($(jq .offset <<<"$output") >= 221 << 20))
}

@test 'an older config drive is replaced where it is, and nothing of it is left' {
  image "$DISK"
  drive "user_data=the-old-secret" filesystem=vfat
  local before
  before=$(sfdisk --dump "$DISK")
  drive user_data=new
  ((status == 0))
  answer .reused true
  diff <(printf '%s\n' "$before") <(sfdisk --dump "$DISK")
  read_drive
  holds openstack/latest/user_data new
  run ! grep -qa the-old-secret "$DISK"
}

@test 'an older one that is too small is emptied, and so is a second one' {
  image "$DISK" $'label: gpt\nsize=20M, type=uefi\nsize=100M, type=linux\nsize=1M\nsize=1M'
  local one
  for one in 3 4; do
    elsewhere iso9660 CONFIG-2
    truncate --size 1M "$MADE"
    dd if="$MADE" of="${DISK}p$one" conv=fsync status=none
  done
  drive "user_data=$(head -c 90000 /dev/urandom | base64 -w 0 | head -c 90000)"
  ((status == 0))
  answer '[.number, .reused, (.emptied | join(" "))] | @csv' '5,false,"3 4"'
  for one in 3 4; do [[ -z $(tr -d '\0' <"${DISK}p$one") ]]; done
}

@test 'a config drive on another disk is a conflict that is named' {
  image "$DISK"
  local first=$DISK
  add_disk 16M
  elsewhere iso9660
  dd if="$MADE" of="$DISK" conv=notrunc,fsync status=none
  remember
  TARGET=$first drive user_data=x
  refused "$DISK is a config drive too"
}

@test 'a disk without a table, one without room, one in use and one that was not confirmed are refused' {
  remember
  drive user_data=x
  refused 'no partition table'
  image "$DISK" $'label: gpt\nsize=20M\nsize=360M'
  remember
  drive user_data=x
  refused 'no 64 MiB that belong to no partition'
  image "$DISK"
  on_machine mount -o ro "${DISK}p2" /mnt
  remember
  drive user_data=x
  refused 'is mounted on /mnt'
  on_machine umount /mnt
  task image::configdrive "disk={\"name\":\"$DISK\"}" user_data=x
  refused 'confirm_serials does not name it'
}

@test 'nothing to write, and a drive with something besides, are refused' {
  image "$DISK"
  remember
  drive
  refused 'nothing to write'
  drive drive=eHh4 user_data=x
  refused 'nothing can be given besides'
}

@test 'with --noop nothing is written, and the place is told' {
  image "$DISK"
  remember
  task image::configdrive "disk={\"name\":\"$DISK\"}" user_data=x _noop=true
  ((status == 0))
  answer '[.verdict, .number] | @csv' '"would-write",3'
  answer .serial "$(serial_of "$DISK")"
  diff <(sums) "$BATS_TEST_TMPDIR/sums"
}

@test 'what is too long for the environment comes on standard input, and no secret is in the trace or the log' {
  image "$DISK"
  head -c 300000 /dev/zero | tr '\0' s >"$BATS_TEST_TMPDIR/long"
  mkdir "$BATS_TEST_TMPDIR/job"
  jq -n --rawfile long "$BATS_TEST_TMPDIR/long" '{user_data: $long, meta_data: {uuid: "u", admin_pass: "tell-nobody"}}' \
    >"$BATS_TEST_TMPDIR/stdin"
  STDIN=$BATS_TEST_TMPDIR/stdin UR_JOB_DIR=$BATS_TEST_TMPDIR/job drive
  ((status == 0))
  read_drive
  cmp "$READ/openstack/latest/user_data" "$BATS_TEST_TMPDIR/long"
  [[ -s $BATS_TEST_TMPDIR/job/trace ]]
  run ! grep -rE 'tell-nobody|ssssssss' "$BATS_TEST_TMPDIR/job" "$LOG" - <<<"$output"
}

@test 'it starts jq a few times' {
  image "$DISK"
  starts_jq_at_most 10 drive user_data=x _noop=true
  answer .verdict would-write
  starts_jq_at_most 10 drive user_data=x
  answer .verdict written
}
