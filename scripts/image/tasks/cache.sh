#!/usr/bin/env bash
# An image that is on the node before it is needed is written without a network, and in the time that the disk takes.
# The images that are wanted most are kept, as many as fit.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/mirrors.sh
source "$PT__installdir/ur/files/mirrors.sh"
# shellcheck source=scripts/image/files/checksum.sh
source "$PT__installdir/image/files/checksum.sh"
# shellcheck source=scripts/image/files/shelf.sh
source "$PT__installdir/image/files/shelf.sh"
# shellcheck source=scripts/image/files/plan.sh
source "$PT__installdir/image/files/plan.sh"

folder=${PT_folder:-/var/lib/ur/images}
removed=() # names of the images that had to go

main() {
  # No trace: a url may carry a password.
  need jq curl awk:gawk openssl flock:util-linux
  make_scratch
  guards
  if noop; then
    answer
    return
  fi
  writes
  answer
}

guards() {
  avoid_memory
  lock_shelf
  plan
}

writes() {
  local number name reason how all
  all=$(printf '%s\n' "${wanted[@]}")
  for number in $(printf '%s\n' "${!verdicts[@]}" | sort -n); do
    name=$(jq -r '.file // "" | split("/")[-1] // ""' <<<"${verdicts[$number]}")
    [[ -n $name ]] || continue
    progress $((number * 100 / ${#verdicts[@]})) "image $((number + 1)) of ${#verdicts[@]}"
    # What is missing of it, for a part may be there.
    [[ -f $folder/$name ]] || make_room $((sizes[$name] - $(size_of "$folder/$name.part"))) "$all"
    if bring_image "$name" "${sources[$name]}"; then
      decide "$number" "$how" '' "$name"
    else
      decide "$number" failed "$reason"
    fi
  done
}

answer() {
  local all
  all=$(for number in $(printf '%s\n' "${!verdicts[@]}" | sort -n); do printf '%s\n' "${verdicts[$number]}"; done \
    | jq -sc --arg folder "$folder" --argjson bytes "$(shelf_bytes)" --argjson attempts "$(attempts_list)" \
      '{images: ., $folder, $bytes, $attempts, removed: $ARGS.positional}' --args -- "${removed[@]}")
  jq -e 'all(.images[]; .verdict != "failed")' <<<"$all" >/dev/null \
    || fail image/not-cached "not all images are there: $(jq -r '[.images[] | select(.verdict == "failed") | "\(.id): \(.reason)"] | join("; ")' <<<"$all")" "$all"
  result "$all"
}

main "$@"
