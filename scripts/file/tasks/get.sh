#!/usr/bin/env bash
# A file or folder of this node, in pieces: of a copy that is made first, so that what is written to meanwhile comes as it
# was at one time.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/file/files/place.sh
source "$PT__installdir/file/files/place.sh"

# Where a copy may stand; the first with room.
readonly copies=(/var/tmp /tmp /run)

main() {
  need sha256sum:coreutils base64:coreutils stat:coreutils find:findutils
  umask 077
  copy=ur-get-$PT_id${UR_NODE:+-$UR_NODE}
  "step_$PT_step"
}

step_begin() { # makes the copy, unless it is there, and answers what it is
  if ! enter_copy; then
    make_copy
  fi
  result "$(<result)"
}

step_piece() {
  enter_copy || fail file/not-begun "the copy of $PT_path is gone from this node: get it again"
  # It is not left behind: see remove_old.
  touch .
  result "{\"data\":\"$(tail --bytes="+$((PT_offset + 1))" blob | head --bytes="$PT_length" | base64 --wrap=0)\"}"
}

step_finish() {
  if enter_copy; then
    cd ..
    rm -rf -- "$copy"
  fi
  result '{}'
}

enter_copy() { # enters the folder of the copy; fails where it is not whole
  local dir
  for dir in "${copies[@]}"; do
    cd "$dir" 2>/dev/null || continue
    enter_own "$copy" || continue
    [[ -f result ]] && return
  done
  return 1
}

make_copy() {
  local bytes kind sum
  look_at_path
  choose_disk_for_copy
  make_own "$copy"
  case $kind in
    file) head --bytes="$((PT_limit + 1))" <"$resolved" >blob || cannot_be_read ;;
    folder) pack ;;
  esac
  bytes=$(stat --format=%s blob)
  ((bytes <= PT_limit)) || too_big "$bytes or more"
  sum=$(sha256sum <blob)
  printf '{"kind":"%s","bytes":%d,"sha256":"%s","mode":"%s","mtime":%d}\n' "$kind" "$bytes" "${sum%% *}" \
    "$(stat --format=%a -- "$resolved")" "$(stat --format=%Y -- "$resolved")" >result.new
  mv result.new result
}

look_at_path() { # sets $resolved, $kind and $bytes, or refuses
  resolve "$PT_path"
  if [[ -d $resolved ]]; then
    need tar
    kind=folder
    bytes=$(du --summarize --bytes -- "$resolved" 2>/dev/null | cut -f 1) || true
  elif [[ -f $resolved ]]; then
    kind='file'
    bytes=$(stat --format=%s -- "$resolved")
  elif [[ -e $resolved ]]; then
    fail file/kind "$PT_path is neither a file nor a folder"
  else
    fail file/not-found "there is no $PT_path on this node"
  fi
  ((bytes <= PT_limit)) || too_big "$bytes"
}

too_big() { # <bytes>
  remove_copy
  fail file/too-big "$PT_path has $1 bytes, of which $PT_limit at most are sent over the broker: get a part of it"
}

cannot_be_read() {
  remove_copy
  fail file/unreadable "$PT_path could not be copied: the message is in the log"
}

remove_copy() {
  [[ $PWD != */"$copy" ]] || { cd .. && rm -rf -- "$copy"; }
}

choose_disk_for_copy() { # enters the first directory with room; copies of others who never came back go first
  local dir
  for dir in "${copies[@]}"; do
    [[ -w $dir ]] || continue
    cd "$dir"
    remove_old ur-get- 60
    # An archive has some KiB besides.
    has_room $((bytes + bytes / 8)) && return
  done
  fail file/no-room "a copy of $PT_path, $bytes bytes, has no room in any of ${copies[*]}"
}

pack() {
  local status=0
  tar -cf - -C "$(dirname -- "$resolved")" -- "$(basename -- "$resolved")" | head --bytes="$((PT_limit + 1))" >blob || status=${PIPESTATUS[0]}
  # 1: a file was written to meanwhile. 141: head has had enough.
  ((status <= 1 || status == 141)) || cannot_be_read
}

main "$@"
