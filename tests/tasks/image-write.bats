#!/usr/bin/env bats
# image::write, on real block devices, from a real HTTP server. Under the name image-write-ur-writer.bats, a link, these tests
# are run once more with ur-writer in the place of the node's own programs.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031

bats_require_minimum_version 1.5.0
load machine
load http
load image

setup() {
  setup_machine
  add_disk
  start_server
  make_image a.img
  [[ ${BATS_TEST_FILENAME##*/} != *ur-writer* ]] || use_writer
}

teardown() {
  unlimit_memory
  stop_server
  teardown_machine
}

@test 'a raw image is on the disk, its partitions are seen, and the backup of its table is at the end' {
  write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)"
  ((status == 0))
  answer '[.verdict, .verified, .gpt_fixed, .bytes, .device] | @csv' "\"written\",true,true,25165824,\"$DISK\""
  answer '.partitions | map(.path) | join(" ")' "${DISK}p1 ${DISK}p2"
  has_image a.img
  [[ -b ${DISK}p2 && $(sgdisk --verify "$DISK") == *'No problems found'* ]]
  [[ -z ${WRITER:-} || -e $WRITER/used ]]
}

refused() { # <kind> <words of the message>: checks that the last task refused, and wrote nothing to any disk
  ((status != 0))
  answer ._error.kind "$1"
  [[ $(jq -r ._error.msg <<<"$output") == *"$2"* ]]
  [[ -z $(tr -d '\0' <"$DISK" | head -c 1) ]]
}

@test 'gz, xz and zst are unpacked on the way, by the hash of the file as of the raw image' {
  gzip -k "$WWW/a.img"
  xz -k -0 "$WWW/a.img"
  zstd -q "$WWW/a.img"
  local packed
  for packed in gz xz zst; do
    blkdiscard -z "$DISK"
    write_image "urls=[\"$URL/a.img.$packed\"]" checksum="$(digits "a.img.$packed")"
    answer .verdict written
    has_image a.img
    blkdiscard -z "$DISK"
    write_image "urls=[\"$URL/a.img.$packed\"]" raw_checksum="$(digits a.img)" read_back=true
    answer .verdict written
    has_image a.img
  done
}

@test 'an image that is smaller than what is held back is written too' {
  truncate --size 3M "$WWW/small.img"
  sgdisk --new=1:0:0 "$WWW/small.img" >/dev/null
  write_image "urls=[\"$URL/small.img\"]" checksum="$(digits small.img)" read_back=true
  answer '[.verdict, .bytes] | @csv' '"written",3145728'
  has_image small.img
}

@test 'a smaller one with another hash leaves the disk as it was, and the next mirror is asked' {
  local packed before
  truncate --size 3M "$WWW/small.img"
  sgdisk --new=1:0:0 "$WWW/small.img" >/dev/null
  cp "$WWW/small.img" "$WWW/other.img"
  printf other | dd of="$WWW/other.img" bs=1M seek=2 conv=notrunc status=none
  gzip -k "$WWW/small.img" "$WWW/other.img"
  sgdisk --new=1:0:0 "$DISK" >/dev/null
  before=$(sha256sum <"$DISK")
  for packed in '' .gz; do
    write_image "urls=[\"$URL/other.img$packed\"]" checksum="$(digits "small.img$packed")"
    answer ._error.kind image/wrong-content
    [[ $(jq -r ._error.msg <<<"$output") == *'Nothing was written'* ]]
    blockdev --flushbufs "$DISK"
    [[ $(sha256sum <"$DISK") == "$before" ]]
  done
  write_image "urls=[\"$URL/other.img\",\"$URL/small.img\"]" checksum="$(digits small.img)"
  answer .verdict written
  has_image small.img
}

@test 'an image whose size is no multiple of anything is written to its last byte' {
  head -c 9000001 /dev/urandom >"$WWW/odd.img"
  write_image "urls=[\"$URL/odd.img\"]" checksum="$(digits odd.img)" read_back=true
  answer '[.verdict, .bytes, .gpt_fixed] | @csv' '"written",9000001,'
  cmp --bytes=9000001 "$WWW/odd.img" "$DISK"
}

@test 'what is nothing in the image is nothing on the disk, whatever was there' {
  local packed
  rm "$WWW/a.img"
  make_image a.img 48M
  gzip -k "$WWW/a.img"
  zstd -q <"$WWW/a.img" >"$WWW/a.img.zst"
  for packed in '' .gz .zst; do
    head -c 64M /dev/urandom | dd of="$DISK" bs=1M oflag=direct iflag=fullblock status=none
    write_image "urls=[\"$URL/a.img$packed\"]" checksum="$(digits "a.img$packed")"
    answer .verdict written
    has_image a.img
  done
}

@test 'an image with another hash never boots, and neither does what was on the disk before' {
  sgdisk --new=1:0:0 "$DISK" >/dev/null
  write_image "urls=[\"$URL/a.img\"]" checksum="$(printf '%064d' 0)"
  ((status != 0))
  answer '[._error.kind, .verdict] | @csv' '"image/wrong-content","failed"'
  [[ $(jq -r ._error.msg <<<"$output") == *'has no partition table now'* ]]
  has_no_table
}

@test 'whoever kills the task in the middle finds a disk without a partition table, and a second run works' {
  sgdisk --new=1:0:0 "$DISK" >/dev/null
  cover_other_disks
  # shellcheck disable=SC2016 # for the shell in there
  on_machine env PT__installdir="$SCRIPTS" PT_disk="{\"name\":\"$DISK\"}" PT_confirm_serials="[\"$(serial_of "$DISK")\"]" \
    PT_urls="[\"$URL/stall/16000000/a.img\"]" PT_checksum="$(digits a.img)" \
    setsid "$BASH" -c 'echo $$ >"$1/pid"; exec bash "$2"' - "$BATS_TEST_TMPDIR" "$SCRIPTS/image/tasks/write.sh" &>"$LOG" &
  local task=$!
  # Until something is on the disk behind the head.
  until [[ -n $(dd if="$DISK" iflag=direct bs=1M skip=9 count=1 status=none | tr -d '\0' | head -c 1 | od -An) ]]; do
    kill -0 "$task"
    sleep 0.1
  done
  kill -KILL -- "-$(<"$BATS_TEST_TMPDIR/pid")"
  wait "$task" || true
  has_no_table
  write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
  has_image a.img
}

@test 'without any hash it is refused, unless somebody says that it may be' {
  write_image "urls=[\"$URL/a.img\"]"
  refused image/refused 'give checksum'
  write_image "urls=[\"$URL/a.img\"]" unverified=true
  answer '[.verdict, .verified] | @csv' '"written",false'
  has_image a.img
}

# Mirrors.

@test 'a mirror that has it not, fails, refuses connections or is no host at all gives way to the next' {
  write_image "urls=[\"$URL/status/404/a.img\",\"$URL/status/500/a.img\",\"http://127.0.0.1:9/a.img\",\"http://no-host.invalid/a.img\",\"$URL/a.img\"]" \
    checksum="$(digits a.img)"
  answer .verdict written
  answer '[.attempts[:5][] | [.http, .curl]] | tojson' '[[404,22],[500,22],[0,7],[0,6],[206,0]]'
  has_image a.img
}

@test 'a transfer that is cut off goes on at the next mirror where it was' {
  write_image "urls=[\"$URL/cut/9000000/a.img\",\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
  grep -q 'GET /a.img bytes=9000000- 206' "$WWW/requests"
  has_image a.img
}

@test 'so does one that is reset, and one that stalls' {
  write_image "urls=[\"$URL/reset/9000000/a.img\",\"$URL/stall/9000000/a.img\",\"$URL/a.img\"]" checksum="$(digits a.img)" stall_timeout=2
  answer .verdict written
  grep -qE 'GET /stall/9000000/a.img bytes=[1-9][0-9]*- 206' "$WWW/requests"
  has_image a.img
  write_image "urls=[\"$URL/stall/9000000/a.img\",\"$URL/a.img\"]" checksum="$(digits a.img)" stall_timeout=2
  answer .verdict written
  answer '.attempts | map(select(.curl == 28)) | length' 1
  has_image a.img
}

@test 'a single mirror that breaks again and again gets there, bit by bit, also through a packer' {
  zstd -q "$WWW/a.img"
  write_image "urls=[\"$URL/flaky/3000000/a.img.zst\"]" checksum="$(digits a.img.zst)"
  answer .verdict written
  (($(jq '.attempts | length' <<<"$output") > 5))
  has_image a.img
}

@test 'a mirror that knows no ranges is read again from the start, and what was had is left out' {
  write_image "urls=[\"$URL/cut/9000000/a.img\",\"$URL/no-range/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
  has_image a.img
}

@test 'a mirror that does not say how long the image is serves all the same' {
  write_image "urls=[\"$URL/unsized/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
  has_image a.img
}

@test 'a mirror with another content is noticed by its hash, and the next one is asked for all of it' {
  mkdir "$WWW/other"
  make_image b.img
  write_image "urls=[\"$URL/b.img\",\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer '[.verdict, .from] | @csv' "\"written\",\"$URL/a.img\""
  has_image a.img
}

@test 'the rest of another content is not joined: by its length, by its ETag, and in the end by the hash' {
  make_image b.img 32M
  write_image "urls=[\"$URL/cut/9000000/a.img\",\"$URL/b.img\",\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
  answer '.attempts | map(.error // empty | select(startswith("content mismatch: it has"))) | length' 1
  has_image a.img
  make_image a.img.new
  write_image "urls=[\"$URL/replaced/9000000/a.img\",\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
  has_image a.img
  write_image "urls=[\"$URL/replaced/9000000/a.img\"]" checksum="$(digits a.img)"
  answer ._error.kind image/not-fetched
  [[ $output == *'its ETag has changed in the meantime'* ]]
  has_no_table
  write_image "urls=[\"$URL/cut/9000000/a.img\",\"$URL/a.img.new\"]" checksum="$(digits a.img.new)"
  answer '[.verdict, .from] | @csv' "\"written\",\"$URL/a.img.new\""
  has_image a.img.new
}

@test 'damage within a packed image is as another content' {
  zstd -q "$WWW/a.img"
  cp "$WWW/a.img.zst" "$WWW/bad.img.zst"
  printf damage | dd of="$WWW/bad.img.zst" bs=1 seek=12000000 conv=notrunc status=none
  write_image "urls=[\"$URL/bad.img.zst\",\"$URL/a.img.zst\"]" raw_checksum="$(digits a.img)"
  answer '[.verdict, .from] | @csv' "\"written\",\"$URL/a.img.zst\""
  has_image a.img
}

@test 'if no mirror has it nothing is written, and the result tells what each of them said' {
  write_image "urls=[\"$URL/status/404/a.img\",\"$URL/status/403/a.img\"]" checksum="$(digits a.img)"
  refused image/not-fetched 'nothing was written'
  answer '.attempts | map(.http) | tojson' '[404,403]'
}

@test 'a password in a url is in no result, log or argument' {
  write_image "urls=[\"${URL/127/u:Geheim@127}/a.img?token=Geheim\"]" checksum="$(digits a.img)"
  answer .verdict written
  [[ $output != *Geheim* && $(<"$LOG") != *Geheim* ]]
}

# Checksum files.

@test 'the hash is found in checksum files of all kinds, by the name without a path' {
  local right wrong sums
  right=$(digits a.img) wrong=$(printf '%064d' 1)
  for sums in "$right" "$wrong  b.img"$'\n'"$right  a.img" "$wrong *b.img"$'\n'"$right *./releases/a.img"$'\r' \
    "# a.img: 24 bytes"$'\n'"SHA256 (b.img) = $wrong"$'\n'"SHA256 (x/a.img) = $right" \
    "d41d8cd98f00b204e9800998ecf8427e  a.img"$'\n'"${right^^}  a.img" \
    "$wrong  a.img"$'\n'"$(sha512sum "$WWW/a.img" | cut -d ' ' -f 1)  a.img"; do
    printf '%s\n' "$sums" >"$WWW/SUMS"
    blkdiscard -z "$DISK"
    write_image "urls=[\"$URL/a.img?x=/y\"]" checksum_url="$URL/SUMS"
    answer .verdict written
    has_image a.img
  done
}

@test 'a checksum file that does not name the image, or gives it two hashes, refuses' {
  printf '%s  b.img\n' "$(digits a.img)" >"$WWW/SUMS"
  write_image "urls=[\"$URL/a.img\"]" checksum_url="$URL/SUMS"
  refused image/refused 'has no sha256, sha384 or sha512 of a.img'
  printf '%s  a.img\n%064d  a.img\n' "$(digits a.img)" 1 >"$WWW/SUMS"
  write_image "urls=[\"$URL/a.img\"]" checksum_url="$URL/SUMS"
  refused image/refused 'two hashes'
  write_image "urls=[\"$URL/a.img\"]" checksum_url="$URL/status/404/SUMS"
  refused image/not-fetched 'the checksum file'
}

# What is refused before anything is written.

@test 'an image that is bigger than the disk is refused by what its packer says of its size' {
  local packed
  truncate --size 80M "$WWW/a.img"
  gzip -k "$WWW/a.img"
  xz -k -0 "$WWW/a.img"
  zstd -q "$WWW/a.img"
  for packed in '' .gz .xz .zst; do
    write_image "urls=[\"$URL/a.img$packed\"]" checksum="$(digits "a.img$packed")"
    refused disk/refused 'it has 67108864 bytes, and the image 83886080'
  done
}

@test 'an image that turns out to be bigger than the disk leaves no table behind' {
  truncate --size 80M "$WWW/a.img"
  zstd -q <"$WWW/a.img" >"$WWW/b.img.zst"
  write_image "urls=[\"$URL/b.img.zst\"]" checksum="$(digits b.img.zst)"
  answer ._error.kind image/wrong-content
  [[ $(jq -r ._error.msg <<<"$output") == *"bigger than the disk's 67108864 bytes"* ]]
  has_no_table
}

@test 'an image for sectors of another size is refused, packed or not, and both kinds are written where they belong' {
  local small=$DISK big
  zstd -q "$WWW/a.img"
  add_disk 64M 4096
  big=$DISK
  write_image "urls=[\"$URL/a.img.zst\"]" checksum="$(digits a.img.zst)"
  refused disk/refused 'sectors of 512 bytes, and the disk has sectors of 4096'
  # The table of a disk with big sectors makes an image for such.
  sgdisk --new=1:0:+8M --new=2:0:+20M "$big" >/dev/null
  head -c 40M "$big" >"$WWW/big.img"
  DISK=$small
  write_image "urls=[\"$URL/big.img\"]" checksum="$(digits big.img)"
  refused disk/refused 'sectors of 4096 bytes, and the disk has sectors of 512'
  DISK=$big
  write_image "urls=[\"$URL/big.img\"]" checksum="$(digits big.img)"
  answer '[.verdict, .gpt_fixed, (.partitions | length)] | @csv' '"written",true,2'
  answer '.partitions[1].bytes' 20971520
  [[ $(sgdisk --verify "$DISK") == *'No problems found'* ]]
}

@test 'an image that is something else than was said is refused' {
  zstd -q "$WWW/a.img"
  mv "$WWW/a.img.zst" "$WWW/zst.img"
  write_image "urls=[\"$URL/zst.img\"]" checksum="$(digits zst.img)"
  refused image/refused 'is zst by its first bytes, but was said to be raw'
  cp "$WWW/a.img" "$WWW/a.img.gz"
  write_image "urls=[\"$URL/a.img.gz\"]" checksum="$(digits a.img)"
  refused image/refused 'was said to be gz'
  qemu-img create -q -f qcow2 "$WWW/b.img" 20M
  write_image "urls=[\"$URL/b.img\"]" checksum="$(digits b.img)"
  refused image/refused 'is qcow2 by its first bytes'
}

@test 'a disk that is in use, unconfirmed or not there is refused' {
  write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)" confirm_serials='[]'
  refused disk/refused "confirm_serials does not name it: $(serial_of "$DISK")"
  exec {open}<"$DISK"
  write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)"
  refused disk/refused 'is open in process'
  exec {open}<&-
  task image::write "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)" 'disk={"serial":"typo"}'
  refused ur/hint 'means no disk'
}

@test 'a hint that means two disks is refused' {
  add_disk
  task image::write "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)" "disk={\"serial\":\"<in> $BATS_TEST_TMPDIR\"}"
  refused ur/hint ambiguous
}

@test 'with --noop nothing is written, and what can be refused is' {
  task image::write "disk={\"name\":\"$DISK\"}" "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)" _noop=true
  answer '[.verdict, .serial, .bytes] | @csv' "\"would-write\",\"$(serial_of "$DISK")\",25165824"
  truncate --size 80M "$WWW/a.img"
  task image::write "disk={\"name\":\"$DISK\"}" "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)" _noop=true
  refused disk/refused 'and the image 83886080'
}

# qcow2.

@test 'a qcow2 is written, compressed or not, kept on the disk or not, and nothing of it stays there' {
  local how read_back
  add_disk 80M
  for how in -q -c; do
    qemu-img convert -f raw -O qcow2 "$how" "$WWW/a.img" "$WWW/a.qcow2"
    for read_back in true false; do
      head -c 80M /dev/urandom | dd of="$DISK" bs=1M oflag=direct iflag=fullblock status=none
      write_image "urls=[\"$URL/cut/3000000/a.qcow2\",\"$URL/a.qcow2\"]" format=qcow2 checksum="$(digits a.qcow2)" read_back="$read_back"
      answer '[.verdict, .bytes, .gpt_fixed] | @csv' '"written",25165824,true'
      has_image a.img
      blockdev --flushbufs "$DISK"
      [[ $(grep --text --only-matching --byte-offset --perl-regexp 'QFI\xfb\0\0\0\x03' "$DISK") == '' ]]
      ! grep -q 'fetched again' "$LOG"
    done
  done
}

@test 'a qcow2 that cannot be written as it comes is, and with another hash does not boot' {
  local kind
  add_disk 80M
  qemu-img convert -f raw -O qcow2 "$WWW/a.img" "$WWW/snapshots.qcow2"
  cp "$WWW/snapshots.qcow2" "$WWW/order.qcow2"
  qemu-img snapshot -c s "$WWW/snapshots.qcow2"
  # The only table moves behind what it tells of, and its place in the table of tables follows.
  dd if="$WWW/order.qcow2" of="$WWW/order.qcow2" bs=64K skip=4 seek=640 count=1 conv=notrunc status=none
  printf '\200\0\0\0\002\200\0\0' | dd of="$WWW/order.qcow2" bs=64K seek=3 conv=notrunc status=none
  for kind in snapshots order; do
    write_image "urls=[\"$URL/$kind.qcow2\"]" format=qcow2 checksum="$(digits "$kind.qcow2")"
    answer .verdict written
    has_image a.img
    [[ -z ${WRITER:-} ]] || grep -q "because of .*$kind.* fetched again" "$LOG"
    write_image "urls=[\"$URL/$kind.qcow2\"]" format=qcow2 checksum="$(printf '%064d' 0)"
    answer ._error.kind image/wrong-content
    has_no_table
  done
}

@test 'a qcow2 with another hash never boots, and neither does one that is not what was announced' {
  qemu-img convert -f raw -O qcow2 -c "$WWW/a.img" "$WWW/a.qcow2"
  write_image "urls=[\"$URL/a.qcow2\"]" format=qcow2 checksum="$(printf '%064d' 0)"
  answer ._error.kind image/wrong-content
  has_no_table
  make_image b.img 32M
  qemu-img convert -f raw -O qcow2 -c "$WWW/b.img" "$WWW/b.qcow2"
  write_image "urls=[\"$URL/a.qcow2\",\"$URL/b.qcow2\"]" format=qcow2 checksum="$(digits b.qcow2)"
  answer .verdict "$(if [[ -n ${WRITER:-} ]]; then echo failed; else echo refused; fi)"
  [[ $output == *'another qcow2 than was announced'* ]]
  has_no_table
}

@test 'a qcow2 that names other files, is encrypted or too big for its way is refused' {
  truncate --size 40M "$(serial_of "$DISK")"
  losetup --set-capacity "$DISK"
  qemu-img create -q -f qcow2 -b /etc/hostname -F raw "$WWW/backed.qcow2" 20M
  qemu-img create -q -f qcow2 -o data_file="$WWW/data" "$WWW/data.qcow2" 20M
  qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s "$WWW/luks.qcow2" 20M
  qemu-img create -q -f qcow2 "$WWW/big.qcow2" 80M
  qemu-img convert -f raw -O qcow2 "$WWW/a.img" "$WWW/a.qcow2"
  local name narrow=$DISK
  add_disk
  for name in 'backed:has a backing file' 'data:has an external data file' 'luks:is encrypted'; do
    write_image "urls=[\"$URL/${name%%:*}.qcow2\"]" format=qcow2 unverified=true
    refused image/refused "${name#*:}"
  done
  write_image "urls=[\"$URL/big.qcow2\"]" format=qcow2 unverified=true
  refused disk/refused 'and the image 83886080'
  DISK=$narrow
  write_image "urls=[\"$URL/a.qcow2\"]" format=qcow2 unverified=true
  refused disk/refused 'does not fit behind its raw image'
}

@test 'a qcow2 for sectors of another size is refused before anything is written' {
  add_disk 80M 4096
  qemu-img convert -f raw -O qcow2 -c "$WWW/a.img" "$WWW/a.qcow2"
  write_image "urls=[\"$URL/a.qcow2\"]" format=qcow2 checksum="$(digits a.qcow2)"
  refused disk/refused 'sectors of 512 bytes'
}

# Memory.

@test 'images bigger than the memory are written: packed, and as qcow2' {
  add_disk 1G
  head -c 320M /dev/urandom >"$WWW/big.img"
  zstd -q -1 "$WWW/big.img"
  qemu-img convert -f raw -O qcow2 "$WWW/big.img" "$WWW/big.qcow2"
  local zst qcow2 read_back
  zst=$(digits big.img.zst) qcow2=$(digits big.qcow2)
  limit_memory $((160 << 20))
  # What keeps it in memory does not come through.
  [[ $(head -c 320M /dev/zero | tail -c 319M | wc -c) == 0 ]]
  write_image "urls=[\"$URL/big.img.zst\"]" checksum="$zst" read_back=true
  answer .verdict written
  for read_back in true false; do
    write_image "urls=[\"$URL/big.qcow2\"]" format=qcow2 checksum="$qcow2" read_back="$read_back"
    answer .verdict written
  done
}

@test 'it starts jq a few times' {
  starts_jq_at_most 6 write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)" _noop=true
  answer .verdict would-write
  starts_jq_at_most 7 write_image "urls=[\"$URL/a.img\"]" checksum="$(digits a.img)"
  answer .verdict written
}
