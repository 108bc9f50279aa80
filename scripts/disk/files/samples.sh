# shellcheck shell=bash
# Canaries: the proof that an erase erased. A random mark is written to places all over the disk before, so that there is
# something to miss on a blank disk too, and read back from the medium afterwards. Exit codes prove nothing.

readonly sample_bytes=4096

sample_offsets() { # <size of the disk> <number>: prints where; both ends, and one place in each equal part between; of a small disk, every place
  local blocks=$(($1 / sample_bytes)) parts=$(($2 - 2)) part i
  printf '0\n'
  ((blocks > 1)) || return 0
  ((parts <= blocks - 2)) || parts=$((blocks - 2))
  ((parts == 0)) || part=$(((blocks - 2) / parts))
  for ((i = 0; i < parts; i++)); do
    printf '%d\n' $(((1 + i * part + (RANDOM << 15 | RANDOM) % part) * sample_bytes))
  done
  printf '%d\n' $(((blocks - 1) * sample_bytes))
}

write_canaries() { # <disk>: writes the marks, and keeps in $scratch/<disk>.planted the places where they can be read again
  local mark=$scratch/$1.mark offset count
  head -c "$sample_bytes" /dev/urandom >"$mark"
  sample_offsets "${disk_fact["$1 bytes"]}" "$samples" >"$scratch/$1.offsets"
  count=$(wc -l <"$scratch/$1.offsets")
  while read -r offset; do
    limited 60 dd if="$mark" of="/dev/$1" bs="$sample_bytes" seek="$offset" oflag=direct,seek_bytes conv=notrunc status=none || true
  done <"$scratch/$1.offsets"
  limited 60 sync "/dev/$1" || true
  while read -r offset; do
    if sample "$1" "$offset" | cmp --silent - "$mark"; then printf '%d\n' "$offset"; fi
  done <"$scratch/$1.offsets" >"$scratch/$1.planted"
  # One place that takes nothing is a bad block; many are a disk of which nothing could be proved.
  (($(wc -l <"$scratch/$1.planted") * 2 >= count))
}

sample() { # <disk> <offset>: prints what the medium has there
  limited 60 dd if="/dev/$1" bs="$sample_bytes" count=1 skip="$2" iflag=direct,skip_bytes status=none
}

proof() { # <disk> <method>: prints what has become of the marks, as JSON
  local offset planted=0 unreadable=0 survived=0 nonzero=0
  blockdev --flushbufs "/dev/$1"
  while read -r offset; do
    planted=$((planted + 1))
    sample "$1" "$offset" >"$scratch/$1.sample" || {
      unreadable=$((unreadable + 1))
      continue
    }
    ! cmp --silent "$scratch/$1.sample" "$scratch/$1.mark" || survived=$((survived + 1))
    cmp --silent --bytes="$sample_bytes" "$scratch/$1.sample" /dev/zero || nonzero=$((nonzero + 1))
  done <"$scratch/$1.planted"
  printf '{"planted":%d,"unreadable":%d,"survived":%d,"nonzero":%d}' "$planted" "$unreadable" "$survived" "$nonzero"
}

is_proved() { # <proof> <method>: no mark may be left; and after zeros nothing but zeros
  [[ $1 == *'"unreadable":0,"survived":0,'* && ($1 == *'"nonzero":0}' || $2 != @(zeroout|overwrite)) ]]
}
