#!/usr/bin/env bash
# A file, or an archive of files and folders, to its place on this node, in pieces or from a web server. It is put together
# in a hidden folder beside its place, compared, flushed and renamed: under its name it is whole or not there at all.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/file/files/place.sh
source "$PT__installdir/file/files/place.sh"

main() {
  need sha256sum:coreutils base64:coreutils stat:coreutils find:findutils
  umask 077
  local name
  mapfile -t names <<<"$PT_names"
  for name in "${names[@]}"; do
    [[ ! ${name%/} =~ ^(|\.|\.\.|.*/.*)$ ]] || fail file/name "$name is no name of a file or folder"
  done
  choose_place
  local key
  # Of the place, whatever way leads to it: what was put there and interrupted is gone on with, or removed. Nodes may
  # share what is below DEST.
  key=$(sha256sum <<<"$place/${as:-$PT_names}/${UR_NODE:-}")
  staging=.ur-put-${key:0:16}
  enter "$place"
  "step_$PT_step"
}

# --- where ---

choose_place() { # sets $place to the directory that gets something, and $as to the name there, if not those of what is put
  local dest=$PT_dest name=${names[0]}
  as=
  if ((${#names[@]} > 1)) || [[ $dest == */ ]]; then
    [[ -d $dest ]] || fail file/no-directory "$dest is no directory on this node: make it first"
    resolve "$dest"
  else
    [[ ! -L $dest || -d $dest ]] || fail file/symlink "$dest is a symbolic link: name the place that it points to"
    resolve "$dest"
    if [[ ! -d $resolved || $name == */ && ${resolved##*/} == "${name%/}" ]]; then
      as=${resolved##*/}
      resolved=${resolved%/*}
    elif [[ $name == */ ]]; then
      fail file/directory "$dest is a directory already: to put ${name%/} into it, write $dest/"
    fi
  fi
  place=${resolved:-/}
}

target_of() { # <name, a folder's with a slash>: sets $target to its name in the place
  target=${1%/}
  target=${as:-$target}
}

refuse_what_is_in_the_way() { # <name in the working directory's parent, or its path> <file, folder or link>
  local there=$1
  case $2 in
    link) [[ -L $there || ! -e $there ]] || fail file/in-the-way "${place%/}/${there#../} is no symbolic link, and what is put is one" ;;
    folder)
      [[ ! -L $there ]] || fail file/symlink "${place%/}/${there#../} is a symbolic link: name the place that it points to"
      [[ -d $there || ! -e $there ]] || fail file/in-the-way "${place%/}/${there#../} is no directory, and what is put is one"
      ;;
    file)
      [[ ! -L $there ]] || fail file/symlink "${place%/}/${there#../} is a symbolic link: name the place that it points to"
      [[ -f $there || ! -e $there ]] || fail file/in-the-way "${place%/}/${there#../} is a directory or a device, and what is put is a file"
      ;;
  esac
}

refuse_place() {
  local mode name target kind
  mode=$(stat --format=%a .)
  ((!(0$mode & 2) || 0$mode & 01000)) || fail file/unsafe "every user may replace what is in $place: set its sticky bit first (chmod +t)"
  for name in "${names[@]}"; do
    target_of "$name"
    kind='file'
    [[ $name != */ ]] || kind=folder
    refuse_what_is_in_the_way "$target" "$kind"
  done
}

# --- the steps ---

step_begin() { # makes the folder for the pieces, and answers how many bytes of them are there already
  prepare
  result "{\"have\":$have}"
}

step_fetch() { # all at once, from a web server
  prepare
  fetch
  finish
}

step_piece() {
  local own=piece-$BASHPID bytes
  enter_own "$staging" || fail file/not-begun "there is nothing that $PT_dest was begun with: put it again"
  [[ $(<sha256) == "$PT_sha256" ]] || fail file/other "something else is being put to $PT_dest meanwhile: put it again"
  (($(stat --format=%s blob) >= PT_offset)) || fail file/gap "what is before the piece at $PT_offset has not arrived: put it again"
  piece | base64 --decode >"$own" || fail file/not-written "the piece could not be written: its message is in the log"
  bytes=$(stat --format=%s "$own")
  # What is behind it stays: it came a first time, or from another sender of the same.
  dd if="$own" of=blob bs=1M seek="$PT_offset" oflag=seek_bytes conv=notrunc status=none \
    || fail file/not-written "the piece could not be written: its message is in the log"
  rm -f -- "$own"
  result "{\"have\":$((PT_offset + bytes))}"
}

step_finish() {
  enter_own "$staging" || fail file/not-begun "there is nothing that $PT_dest was begun with: put it again"
  finish
}

piece() { # prints the piece as base64: from standard input, as JSON in a line, where it is too long for a variable
  if [[ -n ${PT_data:-} ]]; then
    printf '%s' "$PT_data"
  else
    LC_ALL=C grep -o '"data":"[^"]*"' | LC_ALL=C cut -d '"' -f 4
  fi
}

prepare() { # enters the folder of the pieces; sets $have
  refuse_place
  remove_old .ur-put- 1440
  make_own "$staging"
  rm -rf new
  if [[ ! -f sha256 || $(<sha256) != "$PT_sha256" ]]; then
    rm -f blob piece-*
    printf '%s\n' "$PT_sha256" >sha256
  fi
  touch . blob
  have=$(stat --format=%s blob)
  ((have <= PT_bytes)) || { truncate --size=0 blob && have=0; }
  local free_wanted=$((PT_bytes - have + PT_room))
  if ! has_room "$free_wanted"; then
    ((have)) || discard
    fail file/no-room "$free_wanted bytes have no room on the file system of $place: make room there"
  fi
}

fetch() {
  ((have < PT_bytes)) || return 0
  progress 1 'fetching'
  command -v curl >/dev/null || need wget
  if ! fetch_to_blob; then
    fail file/not-fetched "it could not be fetched from this node: the message of curl or wget is in the log"
  fi
}

fetch_to_blob() ( # straight from there, and no more than it is said to be
  unset -v http_proxy all_proxy ALL_PROXY
  ulimit -f "$((PT_bytes / 1024 + 1))"
  # Arguments can be seen by all.
  if command -v curl >/dev/null; then
    curl --silent --show-error --fail --globoff --connect-timeout 20 --retry 5 --retry-connrefused --continue-at - \
      --output blob --config <(printf 'url = %s\n' "$(json_string "$PT_url")")
  elif wget --version 2>/dev/null | grep -q GNU; then
    wget -q -c -O blob -i - <<<"$PT_url"
  else
    wget -q -c -O blob "$PT_url"
  fi
)

discard() { # removes the folder of the pieces
  cd ..
  rm -rf -- "$staging"
}

# --- to its place ---

finish() {
  local name target real
  real=$(sha256sum <blob)
  if [[ ${real%% *} != "$PT_sha256" ]]; then
    discard
    fail file/digest "what has arrived is not what was sent (sha256 ${real%% *}): it was removed; put it again"
  fi
  unpack
  flush_folder
  for name in "${names[@]}"; do
    target_of "$name"
    each_of "${name%/}" refuse_one
  done
  for name in "${names[@]}"; do
    target_of "$name"
    each_of "${name%/}" place_one
  done
  discard
  flush_folder
  target_of "${names[0]}"
  ((${#names[@]} == 1)) || target=
  result "{\"path\":$(json_string "${place%/}/$target"),\"bytes\":$PT_bytes}"
}

unpack() { # to new/, with modes and times
  mkdir new
  if [[ -n ${PT_mode:-} ]]; then
    chmod "$PT_mode" blob || log "this file system keeps no modes: $PT_mode is left out"
    touch --date="@$PT_mtime" blob
    mv -T -- blob "new/${names[0]}"
  else
    need tar
    tar -xpof blob -C new || fail file/no-room "the archive could not be unpacked: tar's message is in the log"
  fi
}

each_of() { # <name in new/> <function>: calls it with the path of each part, and where it belongs, folders first
  local part parts there=../$target
  # A folder that is not there yet comes as a whole, by one rename.
  if [[ ! -d new/$1 || -L new/$1 || ! -e $there ]]; then
    "$2" "new/$1" "$there"
    return
  fi
  mapfile -d '' -t parts < <(find "new/$1" -print0)
  for part in "${parts[@]}"; do
    "$2" "$part" "$there${part#"new/$1"}"
  done
}

refuse_one() { # <part> <where it belongs>
  local kind='file'
  if [[ -L $1 ]]; then
    kind='link'
  elif [[ -d $1 ]]; then
    kind=folder
  fi
  refuse_what_is_in_the_way "$2" "$kind"
  [[ $kind == folder && -d $2 ]] || return 0
  [[ $(stat --format=%d -- "$2") == "$(stat --format=%d .)" ]] || fail file/mount "another file system is mounted at ${place%/}/${2#../}: put what belongs there by itself"
  ((!(0$(stat --format=%a -- "$2") & 2))) || fail file/unsafe "every user may write in ${place%/}/${2#../}: put what belongs there by itself"
}

place_one() { # <part> <where it belongs>
  # A part of a folder that has been renamed is gone with it.
  [[ -e $1 || -L $1 ]] || return 0
  if [[ -d $1 && ! -L $1 && -d $2 ]]; then
    return
  fi
  mv -f -T -- "$1" "$2" || fail file/not-placed "cannot rename to ${place%/}/${2#../}: the message of mv is in the log"
}

main "$@"
