#!/usr/bin/env bats
# image::write: images in other formats than it is told, tables of partitions of all shapes, and checksum files and URLs as other
# systems make them. Under the name image-formats-ur-writer.bats, a link, these tests are run once more with ur-writer.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031

bats_require_minimum_version 1.5.0
load machine
load http
load image

setup() {
  setup_machine
  add_disk 96M
  start_server
  [[ ${BATS_TEST_FILENAME##*/} != *ur-writer* ]] || use_writer
}

teardown() {
  stop_server
  teardown_machine
}

refused() { # <words of the message>: checks that the last task refused, and wrote nothing to the disk
  ((status != 0))
  [[ $(jq -r ._error.kind <<<"$output") == @(image|disk)/refused ]]
  [[ $(jq -r ._error.msg <<<"$output") == *"$1"* ]]
  [[ -z $(tr -d '\0' <"$DISK" | head -c 1) ]]
}

partitioned() { # <name> <lines for sfdisk> [<size>]: an image with that table, and random data behind what is held back
  truncate --size "${3:-40M}" "$WWW/$1"
  sfdisk --quiet "$WWW/$1" <<<"$2"
  head -c 1M /dev/urandom | dd of="$WWW/$1" bs=1M seek=9 conv=notrunc status=none
}

make_image() { # <name>: a small one, because it is packed and converted many times
  partitioned "$1" $'label: gpt\nsize=2MiB, type=uefi\ntype=linux' 12M
}

@test 'partitions with the numbers 1, 14 and 15, as cloud images have them, are all seen' {
  partitioned u.img $'label: gpt\nunit: sectors\n14 : start=2048,size=8192\n15 : start=10240,size=16384\n1 : start=28672,size=40960'
  write_image "urls=[\"$URL/u.img\"]" checksum="$(digits u.img)"
  answer .verdict written
  answer '.partitions | map(.path) | join(" ")' "${DISK}p1 ${DISK}p14 ${DISK}p15"
  [[ -b ${DISK}p1 && -b ${DISK}p14 && -b ${DISK}p15 ]]
}

@test 'extended and logical partitions are seen, though the kernel shows an extended one as smaller' {
  partitioned m.img $'label: dos\nstart=2048,size=8192,type=83\nstart=10240,size=40960,type=5\nstart=12288,size=8192,type=83'
  write_image "urls=[\"$URL/m.img\"]" checksum="$(digits m.img)"
  answer .verdict written
  [[ -b ${DISK}p5 ]]
}

@test 'partitions that the kernel remembers give way to those of the image, whatever their numbers' {
  sfdisk --quiet --no-reread --no-tell-kernel "$DISK" <<<$'label: gpt\nunit: sectors\n40 : start=2048,size=65536\n99 : start=70000,size=40960'
  partx --add "$DISK"
  [[ -b ${DISK}p99 ]]
  partitioned u.img $'label: gpt\nunit: sectors\n2 : start=2048,size=8192\n7 : start=10240,size=16384'
  write_image "urls=[\"$URL/u.img\"]" checksum="$(digits u.img)"
  answer .verdict written
  [[ -b ${DISK}p7 && ! -b ${DISK}p40 && ! -b ${DISK}p99 ]]
}

@test "the boot flag of the protective MBR is the image's still when the backup of the table has been moved" {
  make_image a.img
  printf '\x80' | dd of="$WWW/a.img" bs=1 seek=446 conv=notrunc status=none
  write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer '[.verdict, .gpt_fixed] | @csv' '"written",true'
  [[ $(od -An -tx1 -j446 -N1 "$DISK") == ' 80' ]]
  [[ $(sfdisk --verify "$DISK") == *'No errors'* ]]
}

@test 'a table whose backup has no room at the end of the disk fails, and the result still tells of disk and mirrors' {
  truncate --size 97M "$WWW/full.img"
  sfdisk --quiet "$WWW/full.img" <<<$'label: gpt\nstart=2048,size=194560'
  truncate --size 96M "$WWW/full.img"
  write_image "urls=[\"$URL/full.img\"]" checksum="$(digits full.img)"
  ((status != 0))
  answer '[.verdict, .device, .gpt_fixed, (.attempts | length > 0)] | @csv' "\"failed\",\"$DISK\",,true"
  answer .serial "$(serial_of "$DISK")"
}

@test 'an image without partitions is written, and the result says so' {
  truncate --size 20M "$WWW/f.img"
  mkfs.ext4 -q "$WWW/f.img"
  write_image "urls=[\"$URL/f.img\"]" checksum="$(digits f.img)"
  answer '[.verdict, .reason] | @csv' '"written","the image has no partitions: it is on the disk as it is"'
  make_image a.img
  write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer '[.verdict, .reason] | @csv' '"written",'
}

@test 'what is packed or wrapped in a format that is not written is refused by its name' {
  local kind
  make_image a.img
  bzip2 -k "$WWW/a.img"
  xz -k --format=lzma -0 "$WWW/a.img"
  qemu-img convert -O vmdk -o subformat=streamOptimized "$WWW/a.img" "$WWW/a.vmdk"
  qemu-img convert -O vpc "$WWW/a.img" "$WWW/a.vhd"
  for kind in vhdx vdi; do qemu-img convert -O "$kind" "$WWW/a.img" "$WWW/a.$kind"; done
  tar --create --directory="$WWW" --file="$WWW/a.tar" a.img
  mkdir "$WWW/files"
  : >"$WWW/files/readme"
  xorriso -as mkisofs -quiet -output "$WWW/a.iso" "$WWW/files"
  for kind in img.bz2 img.lzma vmdk vhd vhdx vdi tar iso; do
    write_image "urls=[\"$URL/a.$kind\"]" checksum="$(digits "a.$kind")"
    refused "the image is ${kind#img.}"
  done
  printf '<!DOCTYPE html>\n<html><body>Log in to this network first</body></html>\n' >"$WWW/b.img"
  write_image "urls=[\"$URL/b.img\"]" checksum="$(digits b.img)"
  refused 'the image is html'
}

@test 'a fixed VHD is told by its end, and another format behind a packer by what comes out of it' {
  make_image a.img
  qemu-img convert -O vpc -o subformat=fixed,force_size "$WWW/a.img" "$WWW/a.vhd"
  write_image "urls=[\"$URL/a.vhd\"]" checksum="$(digits a.vhd)"
  refused 'the image is vhd'
  tar --create --gzip --directory="$WWW" --file="$WWW/a.tar.gz" a.img
  write_image "urls=[\"$URL/a.tar.gz\"]" checksum="$(digits a.tar.gz)"
  refused 'unpacked, is tar'
  gzip -k "$WWW/a.img"
  xz -0 "$WWW/a.img.gz"
  write_image "urls=[\"$URL/a.img.gz.xz\"]" checksum="$(digits a.img.gz.xz)"
  refused 'unpacked, is gz'
}

@test 'an image with nothing in it is refused, packed or not' {
  : | gzip >"$WWW/nothing.img.gz"
  write_image "urls=[\"$URL/nothing.img.gz\"]" checksum="$(digits nothing.img.gz)"
  ((status != 0))
  [[ $output == *empty* && -z $(tr -d '\0' <"$DISK" | head -c 1) ]]
}

@test 'what takes more memory to unpack than there shall be is refused before anything is written, with the reason' {
  head -c 1M /dev/urandom >"$WWW/a.img"
  zstd -q --long=31 <"$WWW/a.img" >"$WWW/a.img.zst"
  write_image "urls=[\"$URL/a.img.zst\"]" checksum="$(digits a.img.zst)"
  refused 'takes more memory to unpack'
  xz -k --lzma2=preset=0,dict=300MiB "$WWW/a.img"
  write_image "urls=[\"$URL/a.img.xz\"]" checksum="$(digits a.img.xz)"
  refused 'takes more memory to unpack'
}

@test 'something behind the end of what is packed is told, and before the first write where that can be known' {
  local raw
  make_image a.img
  raw=$(digits a.img)
  { gzip -c "$WWW/a.img" && printf 'a note behind the end\n'; } >"$WWW/a.img.gz"
  write_image "urls=[\"$URL/a.img.gz\"]" raw_checksum="$raw"
  refused 'something stands behind its end'
  { xz -0 -c "$WWW/a.img" && printf 'a note behind the end\n'; } >"$WWW/a.img.xz"
  write_image "urls=[\"$URL/a.img.xz\"]" raw_checksum="$raw"
  refused 'something follows its end'
  { xz -0 -c "$WWW/a.img" && head -c 1024 /dev/zero; } >"$WWW/a.img.xz"
  write_image "urls=[\"$URL/a.img.xz\"]" raw_checksum="$raw"
  answer .verdict written
}

@test 'the reason why a packed image could not be unpacked stands in the message' {
  make_image a.img
  { gzip -c "$WWW/a.img" && printf '\1\0\0\0'; } >"$WWW/a.img.gz"
  write_image "urls=[\"$URL/a.img.gz\"]" checksum="$(digits a.img.gz)"
  answer ._error.kind image/wrong-content
  [[ $(jq -r ._error.msg <<<"$output") == *@('trailing garbage'|'unexpected end of file')* ]]
}

@test 'a qcow2 may have any length, and a size that no disk has is refused' {
  make_image a.img
  qemu-img convert -O qcow2 "$WWW/a.img" "$WWW/a.qcow2"
  qemu-img snapshot -c one "$WWW/a.qcow2"
  (($(stat --format=%s "$WWW/a.qcow2") % 512)) || printf x >>"$WWW/a.qcow2"
  write_image format=qcow2 "urls=[\"$URL/a.qcow2\"]" checksum="$(digits a.qcow2)"
  answer .verdict written
  has_image a.img
  blkdiscard -z "$DISK"
  qemu-img create -q -f qcow2 "$WWW/b.qcow2" 20M
  printf '\x80' | dd of="$WWW/b.qcow2" bs=1 seek=24 conv=notrunc status=none
  write_image format=qcow2 "urls=[\"$URL/b.qcow2\"]" checksum="$(digits b.qcow2)"
  refused 'and the image 9223372036854775807'
}

@test 'a length that no shell can count is no length' {
  make_image a.img
  write_image "urls=[\"$URL/length/99999999999999999999/a.img\",\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
}

@test 'brackets and braces in a URL are characters of a name' {
  make_image 'disk[1]{a,b}.img'
  digits 'disk[1]{a,b}.img' >"$WWW/sums[1]"
  write_image "urls=[\"$URL/disk[1]{a,b}.img\"]" checksum_url="$URL/sums[1]"
  answer .verdict written
}

@test 'a checksum file may end without a newline, begin with a byte order mark, and be in UTF-16' {
  local right sums
  make_image a.img
  right=$(digits a.img)
  for sums in '%s' '%s  a.img' '\xef\xbb\xbf%s  a.img\r\n' '\xef\xbb\xbf%s' 'other\r\n%s *a.img \r'; do
    # shellcheck disable=SC2059 # it is a format
    printf "$sums" "$right" >"$WWW/SUMS"
    write_image "urls=[\"$URL/a.img\"]" checksum_url="$URL/SUMS" _noop=true
    answer '[.verdict, .checksum] | @csv' "\"would-write\",\"$right\""
  done
  printf '%s  a.img\r\n' "$right" | iconv --from-code UTF-8 --to-code UTF-16 >"$WWW/SUMS"
  write_image "urls=[\"$URL/a.img\"]" checksum_url="$URL/SUMS" _noop=true
  answer .checksum "$right"
}

@test 'no part of a password, or of a token, is told, whatever is in it' {
  local secret
  make_image a.img
  for secret in 'user:first@Geheim' 'Geheim' 'Geheim:x-oauth-basic'; do
    write_image "urls=[\"http://$secret@${URL#http://}/a.img\"]" checksum="$(digits a.img)" _noop=true
    # Of a password with an @ in it curl makes nothing.
    [[ $output$(<"$LOG") == *'***'* && $output$(<"$LOG") != *Geheim* ]]
  done
}
