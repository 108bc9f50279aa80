# shellcheck shell=bash
# The pipeline of image::write: fetches an image, from the cache or from mirrors, hashes, unpacks and writes it, again
# from the next source until the hash is right. Needs shell-writer.sh, probe.sh, qcow2.sh, image-table.sh, mirrors.sh, disk's wipe.sh and stack.sh, and what the task has read of its parameters.

# How the stage that writes ends for a reason that another source, or another way, may not have: the exit statuses of ur-writer.
readonly unpack_failed=4 disk_too_small=6 told_to_stop=8 not_streamable=9

fetch_and_write() { # writes the image to the disk but for its head; ends the task if no source has the right one
  local source_urls wrong=
  if [[ -n $cached ]]; then
    touch "$cached" # it was used
    run_pass read_cached && return
    log "$cached: $wrong; it is removed"
    rm -f "$cached"
    cached=
    [[ -n $mirrors ]] || fail image/wrong-content "the cached image has a hash mismatch or is damaged, and there are no urls: $wrong. $(state_of_disk)" "$(image_result failed)"
    [[ $format == raw || -n $qcow2_at ]] \
      || fail image/wrong-content "the cached image has a hash mismatch or is damaged ($wrong), and the disk is too small for a qcow2 without a cache. $(state_of_disk)" "$(image_result failed)"
  fi
  ! fetch_until_right "$mirrors" fetch_once || return 0
  fail image/wrong-content "no source has the right image: $wrong. $(state_of_disk)" "$(image_result failed)"
}

run_pass() { # <function that gives the image>: succeeds if it is on the disk; else sets wrong, what is wrong with the content
  local stages=("$1") writing=write_by_ur_writer
  hashers=()
  rm -f "$scratch"/{head,written,failed-*,*.hash}
  # Of a qcow2 in a file the hash is all that is asked: it is unpacked from there.
  if [[ -z $ur_writer || $1.$format == read_cached.qcow2 ]]; then
    if [[ -n $checksum ]]; then
      start_hash file "$(algorithm_of "$checksum")"
      stages+=(to_file_hash)
    fi
    [[ $compression == none ]] || stages+=(unpack_stream)
    if [[ -n $raw_algorithm ]]; then
      start_hash raw "$raw_algorithm"
      stages+=(to_raw_hash)
    fi
    writing=write_$format
    [[ $1.$format != read_cached.qcow2 ]] || writing=discard_stream
  fi
  run_pipeline "${stages[@]}" "$writing" || log 'the pipeline was interrupted'
  ((${#hashers[@]} == 0)) || wait "${hashers[@]}"
  check_pass "$1" "$writing"
}

fetch_once() { # <URLs, one a line>
  local before=$one_pass
  source_urls=$1
  ! run_pass read_mirrors || return 0
  [[ $one_pass != "$before" ]] || return 1
  log "$wrong. It is fetched again, to the far end of the disk"
  : >"$scratch/sources_used"
  run_pass read_mirrors
}

read_cached() {
  exec cat "$cached"
}

read_mirrors() { # succeeds also if the reader ended first, which has its own status
  stream_from_mirrors "$source_urls" || [[ -n $reader_gone ]]
}

unpack_stream() {
  local status=0
  decompress 2>"$scratch/unpack.said" || status=$?
  log "$(<"$scratch/unpack.said")"
  return "$status"
}

to_file_hash() {
  tee_to "$scratch/file.pipe"
}

to_raw_hash() {
  tee_to "$scratch/raw.pipe"
}

tee_to() { # <pipe>: passes on what comes, and writes it to the pipe too
  # tee moves 8 KiB at a time, and lets the download rest while the disk works: half the speed.
  exec mbuffer -q -e -f -l "$scratch/mbuffer" -s 1M -m 32M -o "$1" -o -
}

write_raw() {
  # What is smaller is known whole before anything is written.
  hold_back_head || return 0
  guard_head
  wipe_before_write
  zero_ahead
  write_stream "$head_bytes" "$zeroed"
}

write_qcow2() {
  wipe_before_write
  write_stream "$qcow2_at" 0
}

discard_stream() {
  cat >/dev/null
}

guard_head() { # refuses a head that is not that of a raw image for this disk
  local reason
  [[ -s $scratch/head ]] || fail image/refused "the image is empty. $(state_of_disk)" "$(image_result refused)"
  reason=$(check_content "$scratch/head") || fail image/refused "$reason. $(state_of_disk)" "$(image_result refused)"
}

wipe_before_write() { # nothing that was on the disk shall boot while it is written, or if that fails
  [[ ! -e $scratch/wiped ]] || return 0
  need_for_stacks "$disk"
  take_down "$disk"
  : >"$scratch/wiped"
  wipe_disk "$disk" || fail disk/failed "/dev/$disk cannot be written: the log tells more" "$(image_result failed)"
}

check_pass() { # <function that gave the image> <function that wrote it>: succeeds if the pass has written the right image; else sets wrong
  local kind
  wrong=
  if [[ -e $scratch/failed-$2 ]]; then
    case $(<"$scratch/failed-$2") in
      # It has given the result itself.
      "$ur_failed") exit "$ur_failed" ;;
      "$unpack_failed") wrong="it cannot be unpacked as ${compression/none/$format}: $(<"$scratch/written")" ;;
      "$told_to_stop") wrong='it is another qcow2 than was announced' ;;
      "$not_streamable") one_pass='' wrong=$(<"$scratch/written") ;;
      "$disk_too_small") wrong="unpacked it is bigger than the disk's $(fact "$disk" bytes) bytes" ;;
      *) fail image/not-written "write error on /dev/$disk: $(tail -n 1 "$scratch/written"). $(state_of_disk)" "$(image_result failed)" ;;
    esac
  elif [[ -e $scratch/failed-unpack_stream ]]; then
    wrong="it cannot be unpacked as $compression: $(paste -sd ' ' "$scratch/unpack.said")"
  fi
  # Of a source that broke off, what is wrong with the rest of the stream has no meaning.
  [[ ! -e $scratch/failed-read_mirrors ]] \
    || fail image/not-fetched "no mirror gave the rest of the image. $(state_of_disk)" "$(image_result failed)"
  [[ ! -e $scratch/failed-read_cached || -n $wrong ]] || wrong='it cannot be read'
  [[ -z $wrong ]] || return 1
  for kind in file raw; do
    hash_holds "$kind" || return 1
  done
}

hash_holds() { # <file|raw>: succeeds if that hash is right or none is wanted; else sets wrong
  local want=$checksum got
  [[ $1 == file ]] || want=$raw_checksum
  [[ -n $want ]] || return 0
  got=$(<"$scratch/$1.hash")
  [[ $got == "$want" ]] || {
    wrong="hash mismatch ($1): it is $got, not $want"
    return 1
  }
}

state_of_disk() { # says what has become of it
  if [[ -e $scratch/wiped ]]; then
    printf '/dev/%s has no partition table now, and nothing boots from it' "$disk"
  else
    printf 'Nothing was written'
  fi
}
