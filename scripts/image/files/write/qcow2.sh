# shellcheck shell=bash
# An image in the qcow2 format of QEMU. Its parts may stand in any order, so where ur-writer does not write it as it comes it is
# kept at the far end of the very disk, checked there, and unpacked to the front: no memory, no other disk is needed.
# Needs shell-writer.sh, pipeline.sh, image-table.sh, probe.sh, and qemu-img, which is never let guess a format.

guard_qcow2() { # <file with the first bytes>: prints why it must not be opened; an image can name other files of the node
  local version features
  version=$(unsigned_at "$1" 4 4 big)
  [[ $version == [23] ]] || printf 'it is of version %s; 2 and 3 are known. ' "$version"
  [[ $(unsigned_at "$1" 8 8 big) == 0 ]] || printf 'it has a backing file: only whole images are written. '
  [[ $(unsigned_at "$1" 32 4 big) == 0 ]] || printf 'it is encrypted. '
  [[ $(unsigned_at "$1" 24 8 big) != 0 ]] || printf 'it is empty. '
  [[ $version == 3 ]] || return 0
  features=$(unsigned_at "$1" 72 8 big)
  ((!(features & 4))) || printf 'it has an external data file. '
  ((!(features & 2))) || printf 'it is marked as corrupt. '
  # Dirty, and how it is packed, are harmless; a bit above these is not known yet.
  ((!(features & ~31))) || printf 'it has features that are not known here. '
}

qcow2_offset() { # prints the offset on the disk where the file is kept, or fails if it does not fit behind the raw image
  local offset
  offset=$((($(fact "$disk" bytes) - content_length) / block_size * block_size))
  ((offset >= raw_bytes)) && printf '%d' "$offset"
}

peek_qcow2() { # <file with its first bytes>: writes to $scratch/peek those of the raw image, if they are already there
  local whole=$scratch/partial.qcow2
  cp "$1" "$whole"
  truncate --size "$content_length" "$whole"
  # Most of what is missing reads as zeros, some as damage: both are expected.
  limited 60 qemu-img dd -f qcow2 -O raw bs=65536 count=1 if="$whole" of="$scratch/peek" 2>/dev/null || : >"$scratch/peek"
  rm "$whole"
}

source_of() { # <file or device> <offset there>: prints what qemu-img is to read, as JSON, in whole sectors
  local driver=file
  [[ ! -b $1 ]] || driver=host_device
  printf '{"driver":"qcow2","file":{"driver":"raw","offset":%d,"size":%d,"file":{"driver":"%s","filename":%s,"locking":"off"}}}' \
    "$2" $(((content_length + 511) / 512 * 512)) "$driver" "$(json_string "$1")"
}

unpack_head() { # <source>: writes the first bytes of the raw image to $scratch/head
  local bytes=$((raw_bytes < head_bytes ? raw_bytes : head_bytes))
  qemu-img convert -O raw "json:{\"driver\":\"raw\",\"offset\":0,\"size\":$bytes,\"file\":$1}" "$scratch/head" >&2
}

unpack_rest() { # <source>: writes the others to their places on the disk
  local rest=$((raw_bytes - head_bytes)) unpacker status=0
  ((rest > 0)) || return 0
  # Out of order, because without the head no half of it can be taken for a whole.
  qemu-img convert -n -W -m 8 -t none --target-image-opts \
    "json:{\"driver\":\"raw\",\"offset\":$head_bytes,\"size\":$rest,\"file\":$1}" \
    "driver=raw,offset=$head_bytes,size=$rest,file.driver=host_device,file.filename=/dev/$disk,file.locking=off" >&2 {ur_result}>&- &
  unpacker=$!
  progress 50 "/dev/$disk: unpacking"
  wait "$unpacker" || status=$?
  return "$status"
}

same_rest() { # <source>: succeeds if the disk has the others where they belong
  local rest=$((raw_bytes - head_bytes))
  ((rest > 0)) || return 0
  blockdev --flushbufs "/dev/$disk"
  qemu-img compare -T none "json:{\"driver\":\"raw\",\"offset\":$head_bytes,\"size\":$rest,\"file\":$1}" \
    "json:{\"driver\":\"raw\",\"offset\":$head_bytes,\"size\":$rest,\"file\":{\"driver\":\"host_device\",\"filename\":\"/dev/$disk\",\"locking\":\"off\"}}" >&2
}

forget_qcow2() { # <offset on the disk>: nothing shall find it there later
  dd if=/dev/zero of="/dev/$disk" bs=1M count=1 oflag=direct,seek_bytes seek="$1" conv=notrunc,fsync status=none
  blkdiscard --offset "$1" --length $((content_length / block_size * block_size)) "/dev/$disk" 2>/dev/null || true
}

unpack_qcow2() { # from the cache, or from the far end of the disk; but for its head
  local file=/dev/$disk start=$qcow2_at image
  if [[ -n $cached ]]; then file=$cached start=0; else blockdev --flushbufs "$file"; fi
  dd if="$file" of="$scratch/start" bs="$probed_bytes" count=1 iflag=skip_bytes,fullblock skip="$start" status=none
  # What came may be another image than what was looked at.
  [[ $(detect_format "$scratch/start") == qcow2 && -z $(guard_qcow2 "$scratch/start") && $(unsigned_at "$scratch/start" 24 8 big) == "$raw_bytes" ]] \
    || fail image/refused "what came is another qcow2 than was announced. $(state_of_disk)" "$(image_result refused)"
  image=$(source_of "$file" "$start")
  unpack_head "$image" || fail image/not-unpacked "qemu-img cannot read it: the log tells more. $(state_of_disk)" "$(image_result failed)"
  guard_head
  (wipe_before_write) || exit
  unpack_rest "$image" || fail image/not-unpacked "qemu-img cannot unpack it: the log tells more. $(state_of_disk)" "$(image_result failed)"
  if [[ ${PT_read_back:-false} == true ]]; then
    same_rest "$image" || fail image/not-written "read-back mismatch: /dev/$disk does not hold what was written to it. $(state_of_disk)" "$(image_result failed)"
  fi
  [[ -n $cached ]] || forget_qcow2 "$qcow2_at"
}
