# shellcheck shell=bash
# The images that a node keeps: a file each, named by its hash, so that what has the name has the content. Of a download
# that was interrupted there is one with .part. Needs the library's ur.sh, mirrors.sh and checksum.sh; $folder.

avoid_memory() { # refuses a folder that is no disk's: images would fill the memory of a node that runs from a ramdisk
  local type
  mkdir -p "$folder" || fail image/refused "folder $folder cannot be made"
  type=$(stat --file-system --format=%T "$folder")
  [[ $type != @(tmpfs|ramfs|overlayfs) || ${PT_allow_memory:-false} == true ]] \
    || fail image/refused "folder $folder is in memory ($type): mount a file system of a disk there, or say allow_memory=true"
}

lock_shelf() { # two at a time would take each other's room
  exec {lock}>"$folder/.lock"
  flock --nonblock "$lock" || fail image/busy "another task is filling $folder: wait for it"
}

bytes_in() { # <2G or 1000>: prints it in bytes
  numfmt --from=iec "$1" 2>/dev/null || fail image/refused "$1 is no size: write 1000, 512M or 40G"
}

budget() { # prints how many bytes images may take, those that are here included
  local here free bytes
  here=$(shelf_bytes)
  free=$(($(stat --file-system --format='%a * %S' "$folder")))
  bytes=$((here + free - $(bytes_in "${PT_reserve:-256M}")))
  [[ -z ${PT_limit:-} ]] || (($(bytes_in "$PT_limit") > bytes)) || bytes=$(bytes_in "$PT_limit")
  printf '%d' "$bytes"
}

shelf_bytes() { # prints how many they take now
  local file bytes=0
  for file in "$folder"/sha*; do
    [[ ! -f $file ]] || bytes=$((bytes + $(size_of "$file")))
  done
  printf '%d' "$bytes"
}

make_room() { # <bytes> <names of the wanted, one a line>: removes what nobody wants, the least used first, until so much fits
  local file budget
  budget=$(budget)
  while read -r file; do
    (($(shelf_bytes) + $1 > budget)) || return 0
    [[ -n $file ]] || continue
    rm -f "$folder/$file"
    removed+=("$file")
    log "$file was removed: room is needed, and it is not wanted"
  done < <(find "$folder" -maxdepth 1 -name 'sha*' -printf '%T@ %f\n' | sort -n | cut -d ' ' -f 2 | grep -vxF -f <(sed 'p; s/$/.part/' <<<"$2"))
}

bring_image() { # <name> <URLs, one a line>: makes $folder/<name> right; succeeds if it is; sets how, and else reason
  local part=$folder/$1.part want=${1#*-} algorithm=${1%%-*} reason_of_fetch=
  if is_right "$folder/$1"; then
    how=kept
    return
  fi
  how=fetched
  if ! until_right "$2" fetch_part; then
    reason=${reason_of_fetch:-no mirror has an image with this hash}
    return 1
  fi
  sync "$part" && mv "$part" "$folder/$1" && sync "$folder"
}

is_right() { # <file>: succeeds if it has the hash that is wanted
  [[ -f $1 && $(hash_of "$algorithm" <"$1") == "$want" ]]
}

fetch_part() { # fetches what $part lacks; what has another hash goes
  local had
  # All may be there, if the task was ended then.
  ! is_right "$part" || return 0
  had=$(size_of "$part")
  at=$had length=
  if ! (stream "$source") >>"$part"; then
    reason_of_fetch='no mirror gave all of it'
    # What is longer than the image is no part of it.
    if ((had > 0)) && tail -n 1 "$scratch/attempts" | grep -q '"http":416,'; then rm -f "$part" && fetch_part; fi
    return
  fi
  reason_of_fetch=
  ! is_right "$part" || return 0
  log "$part: another hash than $want"
  rm -f "$part"
  # Its beginning was from another day, and nobody knows whose.
  ((had > 0)) && fetch_part
}
