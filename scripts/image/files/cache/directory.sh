# shellcheck shell=bash
# The directory of image::cache: a file for each image, named by its hash, so that what has the name has the content; and
# FILE.part of a download that was interrupted. Needs the library's ur.sh and mirrors.sh; $folder.

refuse_memory() { # refuses a folder that is in memory: images would fill that of a node that runs from a ramdisk
  local type
  mkdir -p "$folder" || fail image/refused "folder $folder cannot be made"
  type=$(stat --file-system --format=%T "$folder")
  [[ $type != @(tmpfs|ramfs|overlayfs) || ${PT_allow_memory:-false} == true ]] \
    || fail image/refused "folder $folder is in memory ($type): mount a file system of a disk there, or say allow_memory=true"
}

lock_cache() { # two tasks at a time would take each other's room
  exec {lock}>"$folder/.lock"
  flock --nonblock "$lock" || fail image/busy "another task is filling $folder: wait for it"
}

bytes_in() { # <2G or 1000>: prints it in bytes
  numfmt --from=iec "$1" 2>/dev/null || fail image/refused "$1 is no size: write 1000, 512M or 40G"
}

budget() { # prints how many bytes images may take, those that are here included
  local here free bytes
  here=$(cache_bytes)
  free=$(($(stat --file-system --format='%a * %S' "$folder")))
  bytes=$((here + free - $(bytes_in "${PT_reserve:-256M}")))
  [[ -z ${PT_limit:-} ]] || (($(bytes_in "$PT_limit") > bytes)) || bytes=$(bytes_in "$PT_limit")
  printf '%d' "$bytes"
}

cache_bytes() { # prints how many bytes images take now
  local file bytes=0
  for file in "$folder"/sha*; do
    [[ ! -f $file ]] || bytes=$((bytes + $(size_of "$file")))
  done
  printf '%d' "$bytes"
}

make_room() { # <bytes> <names of the wanted images, one a line>: removes others, the least used first, until so much fits
  local file budget
  budget=$(budget)
  while read -r file; do
    (($(cache_bytes) + $1 > budget)) || return 0
    [[ -n $file ]] || continue
    rm -f "$folder/$file"
    removed+=("$file")
    log "$file was removed: its room is needed, and it is not among the images of this task"
  done < <(find "$folder" -maxdepth 1 -name 'sha*' -printf '%T@ %f\n' | sort -n | cut -d ' ' -f 2 | grep -vxF -f <(sed 'p; s/$/.part/' <<<"$2"))
}
