# shellcheck shell=bash
# Which image the parameters of image::write ask for, what speaks against it, and what is answered of it. It writes
# nothing. Needs the other files of image::write.

cached=        # the file of the cache that has it
place=         # where on the disk a qcow2 is kept
raw_bytes=     # of the image, unpacked
raw_algorithm= # by which the raw image is hashed, if it is
gpt_fixed=null
partitions='[]'
begun=

read_image() { # sets mirrors, format, compression, checksum, raw_checksum and cached
  local names name
  mirrors=$(items "${PT_urls:-[]}")
  names=$(names_of "$mirrors")
  format=${PT_format:-raw}
  compression=${PT_compression:-$(compression_by "$names")}
  need_for_image
  checksum=$(read_checksum "${PT_checksum:-}" "${PT_checksum_url:-}" "$names")
  raw_checksum=$(read_checksum "${PT_raw_checksum:-}" "${PT_raw_checksum_url:-}" "$(without_ending "$names")")
  [[ $format == raw || -z $raw_checksum ]] || fail image/refused 'raw_checksum is for raw images: a qcow2 has a checksum'
  [[ $format == raw || $compression == none ]] || fail image/refused 'a qcow2 that is packed once more is not read: it can be compressed in itself'
  [[ -n $checksum$raw_checksum || ${PT_unverified:-false} == true ]] || fail image/refused \
    'without a hash nobody can say whether it is the right image: give checksum, checksum_url, raw_checksum or raw_checksum_url, or say unverified=true'
  if [[ -n $raw_checksum ]]; then
    raw_algorithm=$(algorithm_of "$raw_checksum")
  elif [[ ${PT_read_back:-false} == true && $format == raw && ($compression != none || -z $checksum) ]]; then
    raw_algorithm=sha256
  fi
  name=${PT_cache:-/var/lib/ur/images}/$([[ -z $checksum ]] || algorithm_of "$checksum")-$checksum
  [[ ! -f $name ]] || cached=$name
  [[ -n $mirrors$cached ]] || fail image/refused 'there are no urls, and the cache has no image with this checksum'
}

without_ending() { # <names, one a line>
  local name
  while read -r name; do printf '%s\n' "${name%.*}"; done <<<"$1"
}

compression_by() { # <names, one a line>: prints what the first ends in
  case ${1%%$'\n'*} in
    *.gz) printf gz ;;
    *.xz) printf xz ;;
    *.zst) printf zst ;;
    *) printf none ;;
  esac
}

need_for_image() {
  case $format.$compression in
    qcow2.*) need qemu-img:qemu-utils ;;
    *.gz) need gzip ;;
    *.xz) need xz:xz-utils ;;
    *.zst) need zstd ;;
  esac
}

guard_image() { # refuses the disk if the image is not for it, as far as that can be known now
  local disk_bytes reason
  disk_bytes=$(fact "$disk" bytes)
  if [[ $format == qcow2 ]]; then
    reason=$(guard_qcow2 "$scratch/start")
    [[ -z $reason ]] || fail image/refused "the qcow2 is not opened: $reason" "$(so_far refused)"
    peek_qcow2 "$scratch/start"
  fi
  if ((${raw_bytes:-0} > disk_bytes)); then
    refuse "$disk" "it has $disk_bytes bytes, and the image $raw_bytes"
  elif [[ $format == qcow2 ]]; then
    [[ -n $length ]] || fail image/refused 'no mirror says how big the qcow2 is' "$(so_far refused)"
    place=$(place_qcow2) || [[ -n $cached ]] || refuse "$disk" \
      "it has $disk_bytes bytes: the qcow2 ($length) does not fit behind its raw image ($raw_bytes), where it is unpacked from; take one that is raw, or put this one into a cache on another disk"
  fi
  reason=$(fits_sectors "$scratch/peek") || refuse "$disk" "$reason"
}

so_far() { # <verdict> [<JSON object>]: prints what there is to say of the disk and the image
  local seconds=$((SECONDS - ${begun:-$SECONDS}))
  jq -cn --argjson facts "${facts[$disk]}" --arg verdict "$1" --argjson attempts "$(attempts_list)" --argjson partitions "$partitions" \
    --argjson gpt_fixed "$gpt_fixed" --arg bytes "${raw_bytes:-}" --arg hash "$checksum" --arg raw_hash "$raw_checksum" \
    --arg from "$(source_url)" --argjson secs "$seconds" '
    $facts | {device: .name, serial, $verdict, verified: ($verdict == "written" and $hash + $raw_hash != "")}
    + ({checksum: $hash, raw_checksum: $raw_hash, $from} | with_entries(select(.value != "")))
    + (if $bytes == "" then {} else {bytes: ($bytes | tonumber)} end)
    + {$secs, $gpt_fixed, $partitions, $attempts}'
}

source_url() { # prints where the image came from in the end, or nothing
  if [[ -n $cached ]]; then
    printf '%s' "$cached"
  else
    without_password "$(tail -n 1 "$scratch/givers" 2>/dev/null || true)"
  fi
}
