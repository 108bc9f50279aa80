# shellcheck shell=bash
# Probe of an image before anything is written: its format and size, from its first and last bytes, which are asked of a
# mirror or read from a file. Needs mirrors.sh, image-table.sh, $scratch, od, and the program that unpacks it.

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
  check_format "$first" "$last"
  raw_bytes=$(unpacked_bytes "$first" "$last")
  if [[ $format == raw ]]; then
    # It ends in the middle, which the program complains of.
    { decompress <"$first" 2>"$scratch/peek.said" || true; } | head -c 65536 >"$scratch/peek"
    check_unpacking "$last"
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
  # All of it may be here.
  [[ -z $content_length ]] || ((response[bytes] < content_length)) || cp "$1" "$2"
  # A packer may tell at the end how big the image is, and a format that it is no raw image.
  [[ -n $from && $format.$compression == raw.@(gz|xz|none) ]] || return 0
  request "$3" --continue-at "$from" | head -c "$probed_bytes" >"$2"
}

detect_format() { # <file>: prints what its first bytes say it is: gz, xz, zst, qcow2, none for a raw image, or the name of another format
  local bytes
  bytes=$(od -An -v -tx1 -N512 "$1" | tr -d ' \n')
  case $bytes in
    1f8b*) printf gz ;;
    fd377a585a00*) printf xz ;;
    28b52ffd* | 5?2a4d18*) printf zst ;;
    514649fb*) printf qcow2 ;;
    425a683?314159265359* | 425a683?177245385090*) printf bz2 ;;
    5d0000????ffffffffffffffff*) printf lzma ;;
    04224d18* | 02214c18*) printf lz4 ;;
    4c5a4950*) printf lzip ;;
    894c5a4f000d0a1a0a*) printf lzop ;;
    1f9d*) printf 'compress (.Z)' ;;
    504b0304* | 504b0506*) printf zip ;;
    377abcaf271c*) printf 7z ;;
    526172211a07*) printf rar ;;
    303730373031* | 303730373037*) printf cpio ;;
    213c617263683e*) printf ar ;;
    # KDMV, COWD, and a descriptor in text.
    4b444d56* | 434f5744* | 23204469736b2044657363726970746f7246696c65*) printf vmdk ;;
    636f6e6563746978*) printf vhd ;;
    7668647866696c65*) printf vhdx ;;
    51454400*) printf qed ;;
    576974686f757446726565537061636* | 576974686f7546726553706163457874*) printf 'a disk of Parallels' ;;
    4d5357494d000000*) printf wim ;;
    564d4100*) printf vma ;;
    3aff26ed*) printf 'an Android sparse image' ;;
    706172746c6f6e652d696d616765*) printf partclone ;;
    78617221*) printf xar ;;
    *)
      if [[ ${bytes:128:8} == 7f10dabe ]]; then
        printf vdi
      elif [[ ${bytes:514:10} == 7573746172 ]]; then
        printf tar
      else
        detect_text_or_iso "$1"
      fi
      ;;
  esac
}

detect_text_or_iso() { # <file>: the page of a server that has another answer than the image; an image that only an optical drive can boot from
  local text
  read -r text < <(head -c 512 "$1" | tr -d '\0' | tr '\n' ' ') || true
  case ${text,,} in
    '<!doctype html'* | '<html'*) printf html ;;
    *)
      if [[ $(dd if="$1" bs=1 skip=32769 count=5 status=none | tr -d '\0') == CD001 ]] && ! has_table "$1"; then
        printf 'iso9660 without a partition table'
      else
        printf none
      fi
      ;;
  esac
}

check_format() { # <file with the first bytes> <file with the last, or nothing>: refuses an image that is not what the parameters say: what is written is never guessed
  local is told=$compression
  [[ $format == raw ]] || told=$format
  is=$(detect_format "$1")
  # A fixed VHD, or a DMG, is told by its end alone.
  case $is.$(tail -c 512 "$2" 2>/dev/null | head -c 8 | tr -d '\0') in
    none.conectix) is=vhd ;;
    none.koly*) is=dmg ;;
  esac
  [[ $is == "$told" ]] || fail image/refused "$(format_mismatch "$is" "${told/none/raw}")" "$(image_result refused)"
}

format_mismatch() { # <format> <what it was said to be>
  local hint='give format and compression'
  [[ $1 == @(none|gz|xz|zst|qcow2) ]] || hint='what is written is raw, as it is or packed as gz, xz or zst, or qcow2: convert it'
  printf 'format mismatch: the image is %s by its first bytes, but was said to be %s: %s' "${1/none/neither packed nor qcow2}" "$2" "$hint"
}

check_content() { # <file with the first bytes of the raw image>: prints why that cannot be written to the disk, and fails then
  local is
  is=$(detect_format "$1")
  [[ $is == none ]] || {
    printf 'format mismatch: the image, unpacked, is %s: what is written is a raw disk: convert it' "$is"
    return 1
  }
  check_sector_size "$1"
}

check_unpacking() { # refuses what cannot be unpacked, as far as its first and last bytes tell
  local end
  # The sizes of windows and dictionaries come first.
  ! grep -qi memory "$scratch/peek.said" || fail image/refused \
    "the $compression takes more memory to unpack than is given to it: $(paste -sd ' ' "$scratch/peek.said")" "$(image_result refused)"
  [[ $compression == xz && -s $1 ]] || return 0
  end=$(tail -c 512 "$1" | od -An -v -tx1 | tr -d ' \n' | sed -E 's/(00)+$//')
  [[ -z $end || $end == *595a ]] || fail image/refused \
    'the image does not end as an xz does: it is cut off, or something follows its end' "$(image_result refused)"
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

unsigned_at() { # <file> <offset> <bytes> <big|little>: prints the number there, or the shell's largest if it is larger than that
  local number largest=9223372036854775807
  number=$(od -An -v "--endian=$4" "-tu$3" "-j$2" "-N$3" "$1" | tr -d ' \n')
  # shellcheck disable=SC2071 # as numbers they could not be compared
  if ((${#number} > 19)) || [[ ${#number} == 19 && $number > $largest ]]; then number=$largest; fi
  printf '%s' "$number"
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
