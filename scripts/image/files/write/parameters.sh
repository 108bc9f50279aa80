# shellcheck shell=bash
# The parameters of image::write: the image that they ask for, the reasons against it, and the result that tells of it. It
# writes nothing. Needs the other files of image::write.

cached=        # the file of the cache that has it
qcow2_at=      # where on the disk a qcow2 is kept
ur_writer=     # the path of ur-writer, if the node has it
one_pass=      # set if that writes a qcow2 as it comes, which then is not kept
raw_bytes=     # of the image, unpacked
raw_algorithm= # by which the raw image is hashed, if it is
gpt_fixed=null
partitions='[]'
begun=

read_parameters() { # sets mirrors, format, compression, checksum, raw_checksum and cached
  local names name
  mirrors=$(items "${PT_urls:-[]}")
  names=$(file_names_of "$mirrors")
  format=${PT_format:-raw}
  compression=${PT_compression:-$(compression_by "$names")}
  need_for_image
  checksum=$(read_checksum "${PT_checksum:-}" "${PT_checksum_url:-}" "$names")
  raw_checksum=$(read_checksum "${PT_raw_checksum:-}" "${PT_raw_checksum_url:-}" "$(without_ending "$names")")
  [[ $format == raw || -z $raw_checksum ]] || fail image/refused 'raw_checksum is for raw images: a qcow2 has a checksum'
  [[ $format == raw || $compression == none ]] || fail image/refused 'a qcow2 that is packed once more is not read: it can be compressed in itself'
  [[ -n $checksum$raw_checksum || ${PT_unverified:-false} == true ]] || fail image/refused \
    'without a hash it cannot be checked that this is the right image: give checksum, checksum_url, raw_checksum or raw_checksum_url, or say unverified=true'
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
    [[ -z $reason ]] || fail image/refused "the qcow2 is not opened: $reason" "$(image_result refused)"
    peek_qcow2 "$scratch/start"
  fi
  if ((${raw_bytes:-0} > disk_bytes)); then
    refuse "$disk" "it has $disk_bytes bytes, and the image $raw_bytes$(size_caveat)"
  elif [[ $format == qcow2 ]]; then
    [[ -n $content_length ]] || fail image/refused 'no mirror says how big the qcow2 is' "$(image_result refused)"
    qcow2_at=$(qcow2_offset) || [[ -n $cached ]] || refuse "$disk" \
      "it has $disk_bytes bytes: the qcow2 ($content_length) does not fit behind its raw image ($raw_bytes), where it is unpacked from; take one that is raw, or put this one into a cache on another disk"
  fi
  reason=$(check_content "$scratch/peek") || refuse "$disk" "$reason"
}

size_caveat() { # prints when the size of the image may be something else
  [[ $compression != gz ]] || printf ' by the last bytes of the gz: if something stands behind its end, that is no size, and has to go'
}

image_result() { # <verdict>: prints what there is to say of the disk and the image
  local seconds=$((SECONDS - ${begun:-$SECONDS})) verified=false from speed
  [[ $1 != written || -z $checksum$raw_checksum ]] || verified=true
  from=$(source_url)
  printf '{"device":"/dev/%s","serial":%s,"verdict":"%s","verified":%s' "$disk" "$(json_string "$(fact "$disk" serial)")" "$1" "$verified"
  [[ -z $checksum ]] || printf ',"checksum":"%s"' "$checksum"
  [[ -z $raw_checksum ]] || printf ',"raw_checksum":"%s"' "$raw_checksum"
  [[ -z $from ]] || printf ',"from":%s' "$(json_string "$from")"
  [[ -z $raw_bytes ]] || printf ',"bytes":%d' "$raw_bytes"
  if [[ $1 == written && -n $raw_bytes ]] && ((seconds > 0)); then
    speed=$(((raw_bytes / seconds + 5000) / 10000))
    printf ',"mbps":%d.%02d' $((speed / 100)) $((speed % 100))
  fi
  [[ $1 != written || $partitions != '[]' ]] || printf ',"reason":"the image has no partitions: it is on the disk as it is"'
  printf ',"secs":%d,"gpt_fixed":%s,"partitions":%s,"attempts":%s}' "$seconds" "$gpt_fixed" "$partitions" "$(attempts_list)"
}

known_so_far() { # for an error of which no more is said
  [[ -n ${disk:-} && -v disk_fact["$disk serial"] ]] && image_result failed
}

source_url() { # prints where the image came from in the end, or nothing
  if [[ -n $cached ]]; then
    printf '%s' "$cached"
  else
    without_password "$(tail -n 1 "$scratch/sources_used" 2>/dev/null || true)"
  fi
}
