#!/usr/bin/env bats
# image::cache, on a small real file system, from a real HTTP server; and image::write from it.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031

bats_require_minimum_version 1.5.0
load machine
load http
load image

setup() {
  setup_machine
  start_server
  add_disk 128M
  mkfs.ext4 -q -m 0 "$DISK"
  # For the tasks and for the test, which is not on their machine.
  on_machine mount "$DISK" /mnt
  CACHED=/proc/$MACHINE/root/mnt
  local number
  for number in 1 2 3 4; do head -c 30M /dev/urandom >"$WWW/$number.img"; done
}

teardown() {
  stop_server
  teardown_machine
}

image() { # <number> [<path>…]: prints an image, JSON: its mirrors are the paths on the server, by default the right one
  local url urls=() number=$1
  shift
  for url in "${@:-$number.img}"; do urls+=("\"$URL/$url\""); done
  local IFS=,
  printf '{"id":"i%d","urls":[%s],"checksum":"%s"}' "$number" "${urls[*]}" "$(digits "$number.img")"
}

cache() { # <image>… [-- <parameter>=<value>…]
  local images=()
  while (($#)) && [[ $1 != -- ]]; do
    images+=("$1")
    shift
  done
  shift || true
  local IFS=,
  task image::cache folder=/mnt reserve=1M "images=[${images[*]}]" "$@"
}

cached() { # prints the names of the images that it has, without their hashes' names, sorted as they are numbered
  local number
  for number in 1 2 3 4; do
    ! cmp --silent "$WWW/$number.img" "$CACHED/sha256-$(digits "$number.img")" || printf '%s ' "$number"
  done
}

verdicts() {
  jq -r '[.images[].verdict] | join(" ")' <<<"$output"
}

@test 'the images that are wanted most are kept, as many as fit, and a second run fetches nothing' {
  cache "$(image 1)" "$(image 2)" "$(image 3)" "$(image 4)"
  ((status == 0))
  [[ $(verdicts) == 'fetched fetched fetched skipped' && $(cached) == '1 2 3 ' ]]
  [[ $(jq -r '.images[3].reason' <<<"$output") == *'there is room for'* ]]
  : >"$WWW/requests"
  cache "$(image 1)" "$(image 2)"
  [[ $(verdicts) == 'kept kept' && ! -s $WWW/requests ]]
  cache "$(image 3)" "$(image 1)" -- limit=45M
  [[ $(verdicts) == 'kept skipped' ]]
}

@test 'what nobody wants any more goes when its room is needed, and only then, the least used first' {
  cache "$(image 1)" "$(image 2)" "$(image 3)"
  touch -d '1 hour ago' "$CACHED/sha256-$(digits 2.img)"
  touch -d '1 minute ago' "$CACHED/sha256-$(digits 1.img)"
  cache "$(image 3)"
  [[ $(cached) == '1 2 3 ' ]]
  answer '.removed | length' 0
  cache "$(image 4)"
  [[ $(cached) == '1 3 4 ' ]]
  answer .removed[0] "sha256-$(digits 2.img)"
}

@test 'a smaller image takes the room that a bigger one before it cannot use' {
  head -c 5M /dev/urandom >"$WWW/4.img"
  cache "$(image 1)" "$(image 2)" "$(image 4)" -- limit=40M
  [[ $(verdicts) == 'fetched skipped fetched' ]]
}

@test 'an image that was damaged on the disk is fetched again' {
  cache "$(image 1)"
  printf damage | dd of="$CACHED/sha256-$(digits 1.img)" bs=1 seek=1000 conv=notrunc status=none
  cache "$(image 1)"
  [[ $(verdicts) == fetched && $(cached) == '1 ' ]]
}

@test 'an interrupted download goes on, in the same run and in the next one' {
  cache "$(image 1 cut/9000000/1.img 1.img)"
  [[ $(verdicts) == fetched && $(cached) == '1 ' ]]
  grep -q 'GET /1.img bytes=9000000- 206' "$WWW/requests"
  cache "$(image 2 cut/8000000/2.img status/403/2.img)" -- stall_timeout=2
  [[ $(verdicts) == fetched ]]
  head -c 7000000 "$WWW/3.img" >"$CACHED/sha256-$(digits 3.img).part"
  cache "$(image 3)"
  [[ $(verdicts) == fetched && $(cached) == '1 2 3 ' ]]
  grep -q 'GET /3.img bytes=7000000- 206' "$WWW/requests"
}

@test 'a part of another content, or one that is too long, does not spoil the image' {
  head -c 7000000 "$WWW/2.img" >"$CACHED/sha256-$(digits 1.img).part"
  cache "$(image 1)"
  [[ $(verdicts) == fetched && $(cached) == '1 ' ]]
  head -c 35M /dev/urandom >"$CACHED/sha256-$(digits 2.img).part"
  cache "$(image 2)"
  [[ $(verdicts) == fetched && $(cached) == '1 2 ' ]]
}

@test 'a mirror with another content gives way to the next; where none is right, the others are still fetched' {
  cache "$(image 1 2.img 1.img)"
  [[ $(verdicts) == fetched && $(cached) == '1 ' ]]
  cache "$(image 2 3.img)" "$(image 3)"
  ((status != 0))
  answer ._error.kind image/not-cached
  [[ $(verdicts) == 'failed fetched' && $(cached) == '1 3 ' ]]
  answer '.images[0].reason' 'no mirror has a file with this hash'
}

@test 'what no mirror gives whole fails, and no file has its name' {
  cache "{\"id\":\"i1\",\"urls\":[\"$URL/status/404/1.img\"],\"checksum\":\"$(digits 1.img)\",\"size\":31457280}"
  ((status != 0))
  answer '.images[0] | [.verdict, .reason] | @csv' '"failed","no mirror gave all of it"'
  [[ ! -e $CACHED/sha256-$(digits 1.img) ]]
}

@test 'a checksum file serves; one without the image fails that image alone' {
  printf '%s  1.img\n' "$(digits 1.img)" >"$WWW/SUMS"
  cache "{\"id\":\"i1\",\"urls\":[\"$URL/1.img\"],\"checksum_url\":\"$URL/SUMS\"}" \
    "{\"id\":\"i2\",\"urls\":[\"$URL/2.img\"],\"checksum_url\":\"$URL/SUMS\"}" "$(image 3)"
  [[ $(verdicts) == 'fetched failed fetched' ]]
}

@test 'a folder in memory is refused, and so is a second task' {
  on_machine mount -t tmpfs none /mnt
  cache "$(image 1)"
  answer ._error.kind image/refused
  [[ $output == *'is in memory (tmpfs)'* ]]
  on_machine umount /mnt
  exec {lock}>"$CACHED/.lock"
  flock --nonblock "$lock"
  cache "$(image 1)"
  exec {lock}>&-
  answer ._error.kind image/busy
}

@test 'with --noop nothing is fetched' {
  cache "$(image 1)" -- _noop=true
  [[ $(verdicts) == would-fetch && -z $(cached) ]]
}

@test 'a password in a url is in no result or log' {
  cache "$(image 1 | sed 's#127#u:Geheim@127#; s#img"\]#img?token=Geheim"]#')"
  [[ $(verdicts) == fetched && $output != *Geheim* && $(<"$LOG") != *Geheim* ]]
}

# image::write from the cache. The disk that has it is not the one that is written.

@test 'an image is written from the cache without a mirror, and a damaged one is not' {
  add_disk
  make_image a.img
  zstd -q "$WWW/a.img"
  task image::cache folder=/mnt reserve=1M "images=[{\"id\":\"a\",\"urls\":[\"$URL/a.img.zst\"],\"checksum\":\"$(digits a.img.zst)\"}]"
  : >"$WWW/requests"
  write_image urls='[]' compression=zst checksum="$(digits a.img.zst)" cache=/mnt
  answer '[.verdict, .from] | @csv' "\"written\",\"/mnt/sha256-$(digits a.img.zst)\""
  has_image a.img
  [[ ! -s $WWW/requests ]]
  printf damage | dd of="$CACHED/sha256-$(digits a.img.zst)" bs=1 seek=9000000 conv=notrunc status=none
  write_image "urls=[\"$URL/a.img.zst\"]" checksum="$(digits a.img.zst)" cache=/mnt
  answer '[.verdict, .from] | @csv' "\"written\",\"$URL/a.img.zst\""
  has_image a.img
  [[ ! -e $CACHED/sha256-$(digits a.img.zst) ]]
}

@test 'a qcow2 is unpacked from the cache on a disk that it would not fit on' {
  add_disk 40M
  make_image a.img
  qemu-img convert -f raw -O qcow2 "$WWW/a.img" "$WWW/a.qcow2"
  task image::cache folder=/mnt reserve=1M "images=[{\"id\":\"a\",\"urls\":[\"$URL/a.qcow2\"],\"checksum\":\"$(digits a.qcow2)\"}]"
  write_image urls='[]' format=qcow2 checksum="$(digits a.qcow2)" cache=/mnt read_back=true
  answer .verdict written
  has_image a.img
}

@test 'it starts jq once' {
  starts_jq_at_most 1 cache "$(image 1)" "$(image 2)"
  [[ $(verdicts) == 'fetched fetched' ]]
  starts_jq_at_most 1 cache "$(image 1)" "$(image 2)"
  [[ $(verdicts) == 'kept kept' ]]
}
