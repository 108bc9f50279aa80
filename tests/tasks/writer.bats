#!/usr/bin/env bats
# ur-writer: from a stream to a disk, on real block devices.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031

bats_require_minimum_version 1.5.0
load machine

setup() {
  setup_machine
  for BUILT in "${UR_BIN_DIR:-}" "$BATS_TEST_DIRNAME"/../../target/*/release; do [[ ! -x $BUILT/ur-writer ]] || break; done
  [[ -x $BUILT/ur-writer ]] || skip 'ur-writer is not built'
  add_disk
  IMAGE=$BATS_TEST_TMPDIR/image
  make_image
}

teardown() {
  teardown_machine
  # Whoever looks at all block devices of this host at this moment keeps the loop device, and so the mount.
  [[ -z ${SMALL:-} ]] || umount --lazy "$SMALL"
}

make_image() { # 24 MiB: data, nothing, text, nothing but for one byte, nothing
  truncate --size 24M "$IMAGE"
  head -c 11M /dev/urandom | dd of="$IMAGE" bs=1M conv=notrunc status=none
  { seq 1 1000000 || true; } | head -c 3M | dd of="$IMAGE" bs=1M seek=15 iflag=fullblock conv=notrunc status=none
  printf x | dd of="$IMAGE" bs=1 seek=20000000 conv=notrunc status=none
}

write() { # [<argument>…]: the stream from standard input to DISK; sets status, and output to the line of JSON
  status=0
  output=$("$BUILT/ur-writer" --disk "$DISK" "$@" 2>"$LOG") || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
  [[ $(wc -l <<<"$output") == 1 ]]
}

dirty() { # makes every byte of DISK something else than zero
  tr '\0' '\377' </dev/zero | dd of="$DISK" bs=1M oflag=direct iflag=fullblock status=none 2>/dev/null || true
}

failed() { # <exit status> <kind> <words of the message>: checks that the last run ended so
  ((status == $1))
  answer .error.kind "$2"
  [[ $(jq -r .error.message <<<"$output") == *"$3"* && $(<"$LOG") == *"$3"* ]]
}

hash_of() { # <sha256|…> <file>: prints it as the program does
  printf '%s:%s' "$1" "$("$1sum" <"$2" | cut -d ' ' -f 1)"
}

@test 'an image is on the disk as it came, zeros too, whatever was there, and its hash is right' {
  dirty
  write --hash-input sha256 --hash-output sha512 <"$IMAGE"
  ((status == 0))
  cmp --bytes=25165824 "$IMAGE" "$DISK"
  answer '[.read, .bytes, .written + .zeros] | @csv' 25165824,25165824,25165824
  answer .input_hash "$(hash_of sha256 "$IMAGE")"
  answer .output_hash "$(hash_of sha512 "$IMAGE")"
  # A loop device makes them itself.
  (($(jq .zeros <<<"$output") > 5000000))
}

@test 'gz, xz, zst and bz2 are unpacked, also of several parts, and both hashes are right' {
  local packed pack
  for packed in gz:gzip xz:xz zst:zstd bz2:bzip2; do
    pack=${packed#*:} packed=${packed%:*}
    dirty
    {
      head -c 10000000 "$IMAGE" | "$pack" -1
      tail -c +10000001 "$IMAGE" | "$pack" -1
    } >"$IMAGE.$packed"
    write --compression "$packed" --hash-input sha256 --hash-output sha384 <"$IMAGE.$packed"
    ((status == 0))
    cmp --bytes=25165824 "$IMAGE" "$DISK"
    answer .input_hash "$(hash_of sha256 "$IMAGE.$packed")"
    answer .output_hash "$(hash_of sha384 "$IMAGE")"
    answer '[.read, .bytes] | @csv' "$(stat --format=%s "$IMAGE.$packed"),25165824"
  done
}

@test 'the head goes to its file, and the disk keeps what it had there' {
  local bytes
  for bytes in 8388608 1048576 33554432; do
    dirty
    write --head-file "$BATS_TEST_TMPDIR/head" --head-bytes "$bytes" <"$IMAGE"
    ((status == 0))
    ((bytes < 25165824)) || bytes=25165824
    grep -qx "head $bytes" "$LOG"
    cmp "$BATS_TEST_TMPDIR/head" <(head -c "$bytes" "$IMAGE")
    [[ $(head -c "$bytes" "$DISK" | tr -d '\377' | wc -c) == 0 ]]
    cmp --ignore-initial="$bytes" --bytes=$((25165824 - bytes)) "$IMAGE" "$DISK"
  done
}

@test 'nothing is written, and the disk is not even opened, before go is said; something else than go is a no' {
  local go=$BATS_TEST_TMPDIR/go writer
  mkfifo "$go"
  dirty
  "$BUILT/ur-writer" --disk "$DISK" --head-file "$BATS_TEST_TMPDIR/head" --go "$go" <"$IMAGE" >"$BATS_TEST_TMPDIR/out" 2>"$LOG" 3>&- &
  writer=$!
  eventually grep -qx 'head 8388608' "$LOG"
  # Others of this host may look at the disk at any moment.
  [[ $(readlink "/proc/$writer/fd"/*) != *"$DISK"* ]]
  echo go >"$go"
  wait "$writer"
  cmp --ignore-initial=8388608 --bytes=16777216 "$IMAGE" "$DISK"
  dirty
  { echo no >"$go"; } 3>&- &
  write --head-file "$BATS_TEST_TMPDIR/head" --go "$go" <"$IMAGE"
  failed 8 stopped 'nothing was written'
  [[ $(tr -d '\377' <"$DISK" | wc -c) == 0 ]]
}

@test 'on a disk with sectors of 4096 bytes too, and the last of them is filled up with zeros' {
  local bytes
  add_disk 64M 4096
  for bytes in 25165823 20000001 513; do
    dirty
    write --hash-output sha256 < <(head -c "$bytes" "$IMAGE")
    ((status == 0))
    cmp --bytes="$bytes" "$IMAGE" "$DISK"
    [[ $(head -c $(((bytes + 4095) / 4096 * 4096)) "$DISK" | tail -c +$((bytes + 1)) | tr -d '\0' | wc -c) == 0 ]]
    [[ $(tail -c +$(((bytes + 4095) / 4096 * 4096 + 1)) "$DISK" | tr -d '\377' | wc -c) == 0 ]]
    answer .output_hash "$(hash_of sha256 <(head -c "$bytes" "$IMAGE"))"
  done
  write --offset 512 <"$IMAGE"
  failed 5 write 'sectors of 4096'
}

@test 'it begins where it is told to, and leaves alone what is before and behind' {
  dirty
  write --offset 4194304 --head-file "$BATS_TEST_TMPDIR/head" --head-bytes 1048576 <"$IMAGE"
  ((status == 0))
  cmp --ignore-initial=1048576:5242880 --bytes=24117248 "$IMAGE" "$DISK"
  [[ $(head -c 5242880 "$DISK" | tr -d '\377' | wc -c) == 0 ]]
  [[ $(tail -c +$((4194304 + 25165824 + 1)) "$DISK" | tr -d '\377' | wc -c) == 0 ]]
}

@test 'a stream that is cut off, damaged, something else or followed by something else cannot be unpacked' {
  gzip -1 <"$IMAGE" >"$IMAGE.gz"
  xz -0 <"$IMAGE" >"$IMAGE.xz"
  zstd -q "$IMAGE"
  bzip2 -1 <"$IMAGE" >"$IMAGE.bz2"
  local packed
  for packed in gz xz zst bz2; do
    write --compression "$packed" < <(head -c -1 "$IMAGE.$packed")
    failed 4 unpack 'unpacking the image'
    write --compression "$packed" < <(head -c 9000000 "$IMAGE.$packed")
    failed 4 unpack 'unpacking the image'
    write --compression "$packed" < <(cat "$IMAGE.$packed" <(echo garbage))
    failed 4 unpack 'unpacking the image'
    write --compression "$packed" <"$IMAGE"
    failed 4 unpack 'unpacking the image'
    write --compression "$packed" </dev/null
    failed 4 unpack 'it is empty'
    printf x | dd of="$IMAGE.$packed" bs=1 seek=5000000 conv=notrunc status=none
    write --compression "$packed" <"$IMAGE.$packed"
    failed 4 unpack 'unpacking the image'
  done
}

@test 'an image with nothing in it is an error, and so is a stream that is closed' {
  write </dev/null
  failed 4 unpack 'the image is empty'
  status=0
  output=$(sh -c 'exec "$0" --disk "$1" <&-' "$BUILT/ur-writer" "$DISK" 2>"$LOG") || status=$?
  failed 4 unpack 'standard input is closed'
  write --compression gz < <(: | gzip)
  failed 4 unpack 'the image is empty'
}

@test 'an image that is bigger than the disk ends there' {
  truncate --size 65M "$IMAGE"
  write <"$IMAGE"
  failed 6 too-big "which has 67108864 bytes"
  gzip -1 "$IMAGE"
  write --compression gz <"$IMAGE.gz"
  failed 6 too-big "the image is bigger than $DISK"
}

@test 'a disk that takes no more, or is in use, and a stream that cannot be read are told apart' {
  local free=$DISK
  SMALL=$BATS_TEST_TMPDIR/small
  mkdir "$SMALL"
  mount -t tmpfs -o size=12M none "$SMALL"
  add_disk 64M 512 "$SMALL"
  write <"$IMAGE"
  failed 5 write "writing $DISK"
  mkfs.ext4 -q "$free"
  mkdir "$BATS_TEST_TMPDIR/mounted"
  mount "$free" "$BATS_TEST_TMPDIR/mounted"
  DISK=$free
  write <"$IMAGE"
  umount "$BATS_TEST_TMPDIR/mounted"
  failed 5 write "opening $DISK"
  write </
  failed 3 read 'standard input'
  write --head-file /dev/full <"$IMAGE"
  failed 7 head-file /dev/full
}

@test 'killed in the middle it leaves the head of the disk as it was' {
  local writer stream=$BATS_TEST_TMPDIR/stream
  dirty
  mkfifo "$stream"
  "$BUILT/ur-writer" --disk "$DISK" --head-file "$BATS_TEST_TMPDIR/head" <"$stream" >/dev/null 2>"$LOG" 3>&- &
  writer=$!
  {
    exec {held}>"$stream"
    head -c 20M "$IMAGE" >&"$held"
  }
  eventually cmp --ignore-initial=9437184 --bytes=10000000 "$IMAGE" "$DISK"
  kill -KILL "$writer"
  wait "$writer" || true
  exec {held}>&-
  [[ $(head -c 8388608 "$DISK" | tr -d '\377' | wc -c) == 0 ]]
}

# qcow2.

make_qcow2() { # [<argument of qemu-img>…]: makes IMAGE one too
  qemu-img convert -f raw -O qcow2 "$@" "$IMAGE" "$IMAGE.qcow2"
}

write_qcow2() { # [<argument>…]: with the head to a file
  dirty
  write --format qcow2 --hash-input sha256 --head-file "$BATS_TEST_TMPDIR/head" "$@" <"$IMAGE.qcow2"
}

has_image() { # [<offset>]: succeeds if DISK has it there, but for its head, and the file has that, and nothing else was touched
  local bytes at=${1:-0}
  bytes=$(stat --format=%s "$IMAGE")
  cmp "$BATS_TEST_TMPDIR/head" <(head -c 8388608 "$IMAGE")
  cmp --ignore-initial=8388608:$((at + 8388608)) --bytes=$((bytes - 8388608)) "$IMAGE" "$DISK"
  [[ $(head -c $((at + 8388608)) "$DISK" | tr -d '\377' | wc -c) == 0 ]]
  [[ $(tail -c +$((at + bytes + 1)) "$DISK" | tr -d '\377' | wc -c) == 0 ]]
}

@test 'a qcow2 of any usual kind is written as it comes' {
  local how
  for how in '-o compat=0.10' '-o compat=1.1' '-c' '-c -o compression_type=zstd' '-o cluster_size=4k' '-c -o cluster_size=4k' \
    '-o cluster_size=2M' '-c -o cluster_size=2M' '-o lazy_refcounts=on' '-o preallocation=metadata' '-W -m 16' '-c -W -m 16' '-S 0'; do
    # shellcheck disable=SC2086 # several words
    make_qcow2 $how
    write_qcow2
    ((status == 0))
    grep -qx 'size 25165824' "$LOG"
    grep -qx 'head 8388608' "$LOG"
    answer .bytes 25165824
    answer .input_hash "$(hash_of sha256 "$IMAGE.qcow2")"
    has_image
  done
  write_qcow2 --offset 1048576
  has_image 1048576
}

@test 'a qcow2 with many tables is, packed or not' {
  local at how
  rm "$IMAGE"
  truncate --size 60M "$IMAGE"
  for ((at = 0; at < 60; at += 5)); do
    head -c 2500000 /dev/urandom | dd of="$IMAGE" bs=1M seek="$at" conv=notrunc status=none
    { seq "$at" 1000000 || true; } | head -c 1M | dd of="$IMAGE" bs=1M seek=$((at + 3)) iflag=fullblock conv=notrunc status=none
  done
  for how in -q -c; do
    # A table is for 2 MiB.
    make_qcow2 -o cluster_size=4k "$how"
    write_qcow2
    ((status == 0))
    has_image
  done
}

@test 'so is one that a machine has written to, as long as its parts are near where they belong' {
  qemu-img create -q -f qcow2 "$IMAGE.qcow2" 40M
  qemu-io -f qcow2 -d unmap -c 'write -P 1 20M 3M' -c 'write -P 2 1M 5000k' -c 'write -P 3 30M 64k' -c 'write -z 21M 64k' \
    -c 'write -z -u 22M 64k' -c 'discard 2M 64k' -c 'write -c -P 4 9M 64k' -c 'write -P 5 9M 512' "$IMAGE.qcow2" >/dev/null
  qemu-img convert -f qcow2 -O raw "$IMAGE.qcow2" "$IMAGE"
  write_qcow2
  ((status == 0))
  has_image
}

@test 'what of a qcow2 only QEMU understands is left to it before anything is written' {
  local kind
  qemu-img create -q -f qcow2 -b "$IMAGE" -F raw "$BATS_TEST_TMPDIR/backing.qcow2"
  qemu-img create -q -f qcow2 -o data_file="$BATS_TEST_TMPDIR/data" "$BATS_TEST_TMPDIR/features.qcow2" 20M
  qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s "$BATS_TEST_TMPDIR/encryption.qcow2" 20M
  qemu-img convert -f raw -O qcow2 -o extended_l2=on,cluster_size=128k "$IMAGE" "$BATS_TEST_TMPDIR/its.qcow2"
  qemu-img convert -f raw -O qcow2 "$IMAGE" "$BATS_TEST_TMPDIR/snapshots.qcow2"
  qemu-img snapshot -c s "$BATS_TEST_TMPDIR/snapshots.qcow2"
  for kind in backing features encryption its snapshots; do
    mv "$BATS_TEST_TMPDIR/$kind.qcow2" "$IMAGE.qcow2"
    write_qcow2
    failed 9 not-streamable "$kind"
    [[ $(tr -d '\377' <"$DISK" | wc -c) == 0 ]]
  done
  truncate --size 65M "$IMAGE"
  make_qcow2
  write_qcow2
  failed 6 too-big 'has 67108864 bytes'
  cp "$IMAGE" "$IMAGE.qcow2"
  write_qcow2
  failed 4 unpack 'is not a qcow2'
}

@test 'a qcow2 whose parts stand far from where they belong says so' {
  make_qcow2
  # The only table moves behind what it tells of, and its place in the table of tables follows.
  dd if="$IMAGE.qcow2" of="$IMAGE.qcow2" bs=64K skip=4 seek=640 count=1 conv=notrunc status=none
  printf '\200\0\0\0\002\200\0\0' | dd of="$IMAGE.qcow2" bs=64K seek=3 conv=notrunc status=none
  write_qcow2
  failed 9 not-streamable 'the order of its parts'
}

@test 'a qcow2 that is cut off or damaged is never taken for a whole one' {
  local bytes cut how
  for how in -q -c; do
    make_qcow2 "$how"
    bytes=$(stat --format=%s "$IMAGE.qcow2")
    for cut in 0 100 70000 300000 5000000 $((bytes / 2)) $((bytes - 65536)); do
      write --format qcow2 < <(head -c "$cut" "$IMAGE.qcow2")
      failed 4 unpack 'unpacking the image'
    done
  done
  # All packed clusters in there are no longer any.
  tr '\0' '\377' </dev/zero | dd of="$IMAGE.qcow2" bs=200000 oflag=seek_bytes seek=$((bytes - 400000)) count=1 iflag=fullblock conv=notrunc status=none
  write --format qcow2 <"$IMAGE.qcow2"
  failed 4 unpack 'is damaged'
}
