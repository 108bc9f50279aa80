# shellcheck shell=bash
# Writes a stream to a disk. The first bytes, in which the partition table and the boot loader are, are held back in memory
# until the rest is on the disk and found right: what is on the disk before cannot boot. Needs the library's ur.sh,
# mirrors.sh, checksum.sh, $scratch, and $disk, the kernel's name of the disk.

readonly head_bytes=$((8 << 20))
readonly block_size=$((4 << 20))

run_pipeline() { # <function>…: runs them as a pipeline; which of them failed is told by files, failed-<function>
  if (($# == 1)); then
    run_stage "$1"
  else
    run_stage "$1" | run_pipeline "${@:2}"
  fi
}

run_stage() { # <function>: what it refuses stays refused
  local status=0
  rm -f "$scratch/failed-$1"
  # In a subshell, so that an answer ends it and not the files after it.
  ("$1") || status=$?
  ((status == 0)) || printf '%d\n' "$status" >"$scratch/failed-$1"
  return "$status"
}

start_hash() { # <name> <sha256|…>: begins to hash what will be written to the pipe $scratch/<name>.pipe
  rm -f "$scratch/$1.pipe"
  mkfifo "$scratch/$1.pipe"
  hash_of "$2" <"$scratch/$1.pipe" >"$scratch/$1.hash" {ur_result}>&- &
  hashers+=("$!")
}

hold_back_head() { # keeps the first bytes of what comes; succeeds if there is more than these
  head -c "$head_bytes" >"$scratch/head"
  (($(size_of "$scratch/head") == head_bytes))
}

zero_ahead() { # sets zeroed: how much of the disk reads as zeros now. Most of an image is nothing, and need not be written then
  local bytes=$((${raw_bytes:-0} / block_size * block_size)) first=$((256 << 20)) begun=${EPOCHREALTIME/[.,]/}
  zeroed=0
  [[ $(attribute "$disk" queue/rotational) == 0 && $(attribute "$disk" queue/write_zeroes_max_bytes) != 0 ]] || return 0
  ((first < bytes)) || first=$bytes
  ((first > 0)) && zero_range 0 "$first" || return 0
  # There are drives that write them one by one.
  ((${EPOCHREALTIME/[.,]/} - begun < 250000)) || return 0
  ((first == bytes)) || zero_range "$first" $((bytes - first)) || return 0
  zeroed=$bytes
}

zero_range() { # <offset> <bytes>: succeeds if samples of it read as zeros
  local sample step=$(($2 / 8 / 4096 * 4096))
  blkdiscard --force --zeroout --offset "$1" --length "$2" "/dev/$disk" || return
  for sample in 0 1 2 3 4 5 6 7; do
    cmp --silent --bytes=4096 /dev/zero \
      <(dd if="/dev/$disk" bs=4096 count=1 iflag=direct,skip_bytes skip=$(($1 + step * sample)) status=none) || return
  done
}

write_stream() { # <offset on the disk> <end of what is zero there>: writes what comes, past the page cache, and tells how it goes
  local writer watcher status=0
  write_blocks "$@" <&0 2>"$scratch/written" {ur_result}>&- &
  writer=$!
  watch_writer "$writer" "$1" {ur_result}>&- &
  watcher=$!
  wait "$writer" || status=$?
  {
    kill "$watcher"
    wait "$watcher"
  } 2>/dev/null || true
  ((status != 0)) || return 0
  log "$(<"$scratch/written")"
  ! grep -q 'No space left' "$scratch/written" || return "$disk_too_small"
  return "$status"
}

write_blocks() { # <offset on the disk> <end of what is zero there>: zeros need not be written as far as that
  local start=$1
  local -x LC_ALL=C
  if (($2 > start)); then
    dd of="/dev/$disk" bs=1M count=$(($2 - start)) iflag=fullblock,count_bytes oflag=direct,seek_bytes seek="$start" \
      conv=notrunc,sparse || return
    start=$2
  fi
  exec dd of="/dev/$disk" bs="$block_size" iflag=fullblock oflag=direct,seek_bytes seek="$start" conv=notrunc,fsync
}

written_bytes() { # prints how much write_stream has written last
  awk '/^[0-9]+ bytes? / { bytes += $1 } END { printf "%d", bytes }' "$scratch/written" 2>/dev/null || printf 0
}

watch_writer() { # <pid> <offset it began at>: reports progress until it is killed
  local begun=$SECONDS position clock
  local all=${raw_bytes:-0}
  [[ $format == raw ]] || all=$(($2 + content_length - head_bytes))
  # Two seconds go by in the shell itself: a sleep would outlive it.
  rm -f "$scratch/clock"
  mkfifo "$scratch/clock"
  exec {clock}<>"$scratch/clock"
  until read -rt 2 -u "$clock"; do
    # Where it is, or the program that it has started.
    position=$(sed -n 's/^pos:[[:space:]]*//p' /proc/{"$(pgrep --parent "$1" || true)","$1"}/fdinfo/1 2>/dev/null | sort -n | tail -n 1 || true)
    [[ -z $position ]] || report_speed $((position - $2)) $((all - $2)) $((SECONDS - begun))
  done
}

report_speed() { # <bytes done> <bytes in all, if positive> <seconds it took>
  local speed=$(($1 / $3 / 1000)) percent=0 left=
  if (($2 > 0)); then
    percent=$(($1 * 98 / $2))
    ((percent <= 98)) || percent=98
    ((speed == 0 || $1 > $2)) || left=$((($2 - $1) / 1000 / speed))
  fi
  progress "$percent" "/dev/$disk: $(($1 / 1000000)) MB written, $((speed / 1000)).$((speed / 100 % 10)) MB/s" "$left"
}

write_file() { # <file> <offset on the disk>
  dd if="$1" of="/dev/$disk" bs="$block_size" iflag=fullblock oflag=direct,seek_bytes seek="$2" conv=notrunc,fsync status=none
}

same_on_disk() { # <file>: succeeds if the disk begins with it, by what the medium says
  blockdev --flushbufs "/dev/$disk"
  cmp --silent --bytes="$(size_of "$1")" "$1" "/dev/$disk"
}

verify_raw() { # sets raw_bytes to what came; with read_back, compares it with what the medium says
  local want=$checksum
  raw_bytes=$(($(size_of "$scratch/head") + $(written_bytes)))
  [[ ${PT_read_back:-false} == true ]] || return 0
  progress 98 "/dev/$disk: reading it back"
  [[ -z $raw_algorithm ]] || want=$(<"$scratch/raw.hash")
  [[ $(read_back "$raw_bytes" "$(algorithm_of "$want")") == "$want" ]] \
    || fail image/not-written "read-back mismatch: /dev/$disk does not hold what was written to it. $(state_of_disk)" "$(image_result failed)"
}

read_back() { # <bytes> <sha256|…>: prints the hash of the image as the disk has it, but for the head
  blockdev --flushbufs "/dev/$disk"
  {
    cat "$scratch/head"
    # dd cannot read half a sector from a medium, and is told to end by head.
    (($1 <= head_bytes)) || { dd if="/dev/$disk" bs="$block_size" iflag=direct,skip_bytes skip="$head_bytes" status=none || true; } \
      | head -c "$(($1 - head_bytes))"
  } | hash_of "$2"
}
