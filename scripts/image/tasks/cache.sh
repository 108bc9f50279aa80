#!/usr/bin/env bash
# Keeps images on a disk of the node, so that image::write needs no network and only the time that the disk takes. The
# first of those that are asked for are kept, as many as fit.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/mirrors.sh
source "$PT__installdir/ur/files/mirrors.sh"
# shellcheck source=scripts/image/files/checksum.sh
source "$PT__installdir/image/files/checksum.sh"
# shellcheck source=scripts/image/files/cache/directory.sh
source "$PT__installdir/image/files/cache/directory.sh"
# shellcheck source=scripts/image/files/cache/plan.sh
source "$PT__installdir/image/files/cache/plan.sh"

folder=${PT_folder:-/var/lib/ur/images}
removed=() # names of the images that had to go

main() {
  # No trace: a url may carry a password.
  need jq curl openssl flock:util-linux
  make_scratch
  guards
  if noop; then
    report
    return
  fi
  writes
  report
}

guards() {
  refuse_memory
  lock_cache
  read_images
  plan_cache
}

writes() {
  local number name all
  all=$(printf '%s\n' "${wanted[@]}")
  for number in "${!image_name[@]}"; do
    name=${image_name[number]}
    progress $((number * 100 / ${#image_id[@]})) "image $((number + 1)) of ${#image_id[@]}"
    # What is missing of it, for a part may be there.
    [[ -f $folder/$name ]] || make_room $((sizes[$name] - $(size_of "$folder/$name.part"))) "$all"
    cache_image "$number"
  done
}

cache_image() { # <number>: makes its file right, and records how
  local name=${image_name[$1]}
  local file=$folder/$name algorithm=${name%%-*} digits=${name#*-}
  if has_hash "$file" "$algorithm" "$digits"; then
    record_verdict "$1" kept
  elif fetch_file "$file" "$algorithm" "$digits" "${image_urls[$1]}"; then
    record_verdict "$1" fetched
  else
    record_verdict "$1" failed "$fetch_error"
  fi
}

report() {
  local all name gone=''
  for name in "${removed[@]}"; do gone+=,$(json_string "$name"); done
  all="{\"images\":$(verdict_list),\"folder\":$(json_string "$folder"),\"bytes\":$(cache_bytes),\"attempts\":$(attempts_list),\"removed\":[${gone#,}]}"
  [[ " ${image_verdict[*]} " != *' failed '* ]] || fail image/not-cached "not all images are there: $(failures)" "$all"
  result "$all"
}

main "$@"
