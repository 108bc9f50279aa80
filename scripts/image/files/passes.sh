# shellcheck shell=bash
# Brings an image onto a disk, from the cache or from mirrors, as often as it takes until the hash is right. Needs
# lay.sh, foresee.sh, qcow2.sh, table.sh, mirrors.sh, disk's wipe.sh and stack.sh, and what the task has read of its parameters.

bring() { # lays the image on the disk but for its head; ends the task if no source has the right one
  local source wrong=
  if [[ -n $cached ]]; then
    touch "$cached" # it was used
    pass give_cached && return
    log "$cached: $wrong; it goes"
    rm -f "$cached"
    cached=
    [[ -n $mirrors ]] || fail image/wrong-content "the cached image is no good, and there are no urls: $wrong. $(state_of_disk)" "$(so_far failed)"
    [[ $format == raw || -n $place ]] \
      || fail image/wrong-content "the cached image is no good ($wrong), and the disk is too small for a qcow2 without a cache. $(state_of_disk)" "$(so_far failed)"
  fi
  ! until_right "$mirrors" pass_fetched || return 0
  fail image/wrong-content "no source has the right image: $wrong. $(state_of_disk)" "$(so_far failed)"
}

pass() { # <function that gives the image>: succeeds if it is on the disk; else sets wrong, what is wrong with the content
  local stages=("$1")
  hashers=()
  rm -f "$scratch"/{head,laid,failed-*,*.hash}
  if [[ -n $checksum ]]; then
    start_hash file "$(algorithm_of "$checksum")"
    stages+=(to_file_hash)
  fi
  [[ $compression == none ]] || stages+=(unpack)
  if [[ -n $raw_algorithm ]]; then
    start_hash raw "$raw_algorithm"
    stages+=(to_raw_hash)
  fi
  if [[ $1.$format == give_cached.qcow2 ]]; then stages+=(take_nothing); else stages+=("take_$format"); fi
  pipe "${stages[@]}" || log 'the pipeline was interrupted'
  ((${#hashers[@]} == 0)) || wait "${hashers[@]}"
  judge "$1"
}

pass_fetched() {
  pass give_fetched
}

give_cached() {
  exec cat "$cached"
}

give_fetched() { # the reader's end is none of ours
  stream "$source" || [[ -n $reader_gone ]]
}

to_file_hash() {
  pass_and_give "$scratch/file.pipe"
}

to_raw_hash() {
  pass_and_give "$scratch/raw.pipe"
}

pass_and_give() { # <pipe>: passes on what comes, and gives it to the pipe too
  # tee moves 8 KiB at a time, and lets the download rest while the disk works: half the speed.
  exec mbuffer -q -e -f -l "$scratch/mbuffer" -s 1M -m 32M -o "$1" -o -
}

take_raw() {
  local reason
  # What is smaller is known whole before anything is written.
  take_head || return 0
  reason=$(fits_sectors "$scratch/head") || fail image/refused "$reason. $(state_of_disk)" "$(so_far refused)"
  wipe_once
  zero_ahead
  lay "$held" "$zeroed"
}

take_qcow2() {
  wipe_once
  lay "$place" 0
}

take_nothing() { # what is in a file can be unpacked from there; its hash is all that is asked
  cat >/dev/null
}

wipe_once() { # nothing that was on the disk shall boot while it is written, or if that fails
  [[ ! -e $scratch/wiped ]] || return 0
  need_for_stacks "$disk"
  take_down "$disk"
  : >"$scratch/wiped"
  wipe_disk "$disk" || fail disk/failed "/dev/$disk cannot be written: the log tells more" "$(so_far failed)"
}

judge() { # <function that gave the image>: what the pass has come to
  local is
  wrong=
  if [[ -e $scratch/failed-take_$format ]]; then
    # It has answered itself.
    (($(<"$scratch/failed-take_$format") != ur_failed)) || exit "$ur_failed"
    grep -q 'No space left' "$scratch/laid" \
      || fail image/not-written "/dev/$disk takes no more: $(tail -n 1 "$scratch/laid"). $(state_of_disk)" "$(so_far failed)"
    wrong="unpacked it is bigger than the disk's $(fact "$disk" bytes) bytes"
  elif [[ -e $scratch/failed-unpack ]]; then
    wrong="it cannot be unpacked as $compression: the log tells more"
  fi
  # A source that went away leaves what is wrong with the rest of the stream without meaning.
  [[ ! -e $scratch/failed-give_fetched ]] \
    || fail image/not-fetched "no mirror gave the rest of the image. $(state_of_disk)" "$(so_far failed)"
  [[ ! -e $scratch/failed-give_cached || -n $wrong ]] || wrong='it cannot be read'
  [[ -z $wrong ]] || return 1
  for is in file raw; do
    hash_holds "$is" || return 1
  done
}

hash_holds() { # <file|raw>: succeeds if that hash is right or none is wanted; else sets wrong
  local want=$checksum got
  [[ $1 == file ]] || want=$raw_checksum
  [[ -n $want ]] || return 0
  got=$(<"$scratch/$1.hash")
  [[ $got == "$want" ]] || {
    wrong="its hash ($1) is $got, not $want"
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
