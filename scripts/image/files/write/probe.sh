# shellcheck shell=bash
# Probe of an image before anything is written: its format and size, from its first and last bytes, which are asked of a
# mirror or read from a file. Needs mirrors.sh, $scratch, od, and xz for what is packed with it.

# Enough for a qcow2's tables and first cluster, and for what a packer puts into its first block.
readonly probed_bytes=$((1 << 20))

probe_image() { # <URLs, one a line> <file that has it, or nothing>: sets content_length, and raw_bytes: how big it is at least, unpacked
  local first=$scratch/start last=$scratch/end
  if [[ -n $2 ]]; then
    content_length=$(size_of "$2")
    head -c "$probed_bytes" "$2" >"$first"
    tail -c "$probed_bytes" "$2" >"$last"
  else
    try_mirrors "$1" probe_mirror "$first" "$last" \
      || fail image/not-fetched "no mirror has the image, and nothing was written: attempts tells what each answered" "$(image_result failed)"
  fi
  check_format "$first"
  raw_bytes=$(unpacked_bytes "$first" "$last")
  if [[ $format == raw ]]; then
    # It ends in the middle, which the program complains of.
    { decompress <"$first" 2>/dev/null || true; } | head -c 65536 >"$scratch/peek"
  fi
}

decompress() { # from standard input to standard output
  case $compression in
    none) cat ;;
    gz) gzip -dc ;;
    xz) xz -dc -T 0 --memlimit-decompress=256MiB ;;
    zst) zstd -dcq --long=27 ;;
  esac
}

probe_mirror() { # <file for the first bytes> <file for the last> <url>
  local from=
  rm -f "$1" "$2"
  content_length=
  request "$3" --range "0-$((probed_bytes - 1))" | head -c "$probed_bytes" >"$1"
  read_response "$3"
  response[bytes]=$(size_of "$1")
  record_request "$3" 0
  # Less than was asked for will do, and of a server that knows no ranges no more was taken.
  ((response[bytes] > 0)) || return 1
  ((response[http] != 206 || ${content_length:-0} <= probed_bytes)) || from=$((content_length - probed_bytes))
  # Only a packer may tell at the end how big the image is.
  [[ -n $from && $compression == @(gz|xz) ]] || return 0
  request "$3" --continue-at "$from" | head -c "$probed_bytes" >"$2"
}

detect_format() { # <file>: prints what its first bytes say it is: gz, xz, zst, qcow2 or none
  case $(od -An -v -tx1 -N6 "$1" | tr -d ' \n') in
    1f8b*) printf gz ;;
    fd377a585a00) printf xz ;;
    28b52ffd* | 5?2a4d18*) printf zst ;;
    514649fb*) printf qcow2 ;;
    *) printf none ;;
  esac
}

check_format() { # <file>: refuses an image that is not what the parameters say: what is written is never guessed
  local is told=$compression
  [[ $format == raw ]] || told=$format
  is=$(detect_format "$1")
  [[ $is == "$told" ]] || fail image/refused \
    "format mismatch: the image is ${is/none/neither packed nor qcow2} by its first bytes, but was said to be ${told/none/raw}: give format and compression" "$(image_result refused)"
}

unpacked_bytes() { # <file with the first bytes> <file with the last>: prints how big the raw image is at least, or nothing
  case $format.$compression in
    qcow2.*) unsigned_at "$1" 24 8 big ;;
    raw.none) printf '%s' "$content_length" ;;
    raw.zst) zstd_bytes "$1" ;;
    raw.xz) xz_bytes "$1" "$2" ;;
    # The last four bytes have the size modulo 4 GiB.
    raw.gz) [[ ! -s $2 ]] || unsigned_at <(tail -c 4 "$2") 0 4 little ;;
  esac
}

unsigned_at() { # <file> <offset> <bytes> <big|little>: prints the number there
  od -An -v "--endian=$4" "-tu$3" "-j$2" "-N$3" "$1" | tr -d ' \n'
}

zstd_bytes() { # <file with the first bytes>: prints the size in the header of the frame, if the packer knew it
  local flags at=5
  [[ $(detect_format "$1") == zst && $(unsigned_at "$1" 0 4 little) == 4247762216 ]] || return 0
  flags=$(unsigned_at "$1" 4 1 little)
  # A window descriptor, unless it is a single segment; then the identity of a dictionary.
  ((flags & 32)) || at=$((at + 1))
  case $((flags & 3)) in 1) at=$((at + 1)) ;; 2) at=$((at + 2)) ;; 3) at=$((at + 4)) ;; esac
  case $((flags >> 6)) in
    0) ((!(flags & 32))) || unsigned_at "$1" "$at" 1 little ;;
    1) printf '%d' $(($(unsigned_at "$1" "$at" 2 little) + 256)) ;;
    2) unsigned_at "$1" "$at" 4 little ;;
    3) unsigned_at "$1" "$at" 8 little ;;
  esac
}

xz_bytes() { # <file with the first bytes> <file with the last>: prints the size in the index, if that is in there
  local sparse=$scratch/sparse
  [[ -s $2 ]] || return 0
  # xz looks at both ends alone.
  cp "$1" "$sparse"
  truncate --size $((content_length - $(size_of "$2"))) "$sparse"
  cat "$2" >>"$sparse"
  { xz --robot --list "$sparse" 2>/dev/null || true; } | awk '$1 == "totals" { print $5 }'
}
