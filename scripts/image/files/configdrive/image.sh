# shellcheck shell=bash
# The image of a config drive: the files of OpenStack's layout, or those of a drive that was made elsewhere, and the file
# system around them. It knows nothing of disks. Needs the library's ur.sh; all it makes is in $scratch.

readonly drive_label=config-2 max_drive_bytes=$((64 << 20))
# mtools shall not compare a FAT with the drive letters of a DOS machine.
export MTOOLS_SKIP_CHECK=1

read_secret_parameters() { # sets given to a file with the parameters that may be secret, which must not be arguments of programs; and what there is in it
  given=$scratch/given
  # What a Node.js agent gives is a socket that never ends.
  if [[ ! -S /dev/stdin && ! -t 0 ]]; then cat >"$scratch/stdin"; else : >"$scratch/stdin"; fi
  # A value too big for the environment comes on standard input; there, strings are as they are and all else is JSON.
  jq -n '
    def is_text($name): $name == "drive" or ($name == "user_data" and (startswith("{\"base64\":") | not));
    (input? // {}) as $stdin
    | [("meta_data", "user_data", "network_data", "files", "drive") as $name
       | ($stdin[$name] // (env["PT_" + $name] // empty | if is_text($name) then . else fromjson end)) as $value
       | {key: $name, $value}] | from_entries' "$scratch/stdin" >"$given" \
    || fail image/refused 'the parameters cannot be read: one of them is not JSON'
  unset PT_meta_data PT_user_data PT_network_data PT_files PT_drive
  rm "$scratch/stdin"
  describe_given
}

describe_given() { # sets given_keys to the names of those that were given, drive_is_url, and value_types of user_data and each of the files
  local described
  described=$(jq -r '(keys_unsorted | join(" ")), (.drive // "" | test("^https?://")), (.user_data | type), (.files // {} | .[] | type)' "$given")
  mapfile -t value_types <<<"$described"
  given_keys=${value_types[0]} drive_is_url=${value_types[1]}
  value_types=("${value_types[@]:2}")
}

make_tree() { # sets tree to a directory with what the drive shall hold
  tree=$scratch/tree
  mkdir "$tree"
  case $given_keys in
    '') fail image/refused 'there is nothing to write: give meta_data, user_data, network_data or files, or a drive' ;;
    drive) use_given_drive ;;
    *drive*) fail image/refused 'a drive is complete: nothing can be given besides' ;;
    *) write_openstack ;;
  esac
}

write_openstack() {
  local latest=$tree/openstack/latest number uuid
  mkdir -p "$latest"
  # Cloud-init takes no drive without an instance's UUID.
  uuid=${UR_NODE:-$(cat /sys/class/dmi/id/product_uuid 2>/dev/null || true)}
  for ((number = 0; number + 1 < ${#value_types[@]}; number++)); do
    mkdir -p "$tree/openstack/content"
    write_value "${value_types[number + 1]}" ".files | to_entries[$number].value" "$tree/openstack/content/$(printf %04d "$number")"
  done
  jq --arg uuid "${uuid:-$(</proc/sys/kernel/random/uuid)}" '(.files // {} | keys_unsorted) as $paths | (.meta_data // {})
    | .uuid //= $uuid
    | if $paths == [] then . else .files = [$paths | to_entries[]
        | {path: .value, content_path: "/content/\("000\(.key)"[-4:])"}] end' "$given" >"$latest/meta_data.json"
  [[ $given_keys != *user_data* ]] || write_value "${value_types[0]}" .user_data "$latest/user_data"
  [[ $given_keys != *network_data* ]] || jq .network_data "$given" >"$latest/network_data.json"
}

write_value() { # <type> <jq filter> <file>: text, or what stands there as base64
  if [[ $1 == string ]]; then
    jq -j "$2" "$given" >"$3"
  else
    jq -j "$2 | .base64" "$given" | base64 --decode >"$3" 2>/dev/null || fail image/refused 'a value given as base64 is not base64'
  fi
}

use_given_drive() { # sets drive to the file system that was made elsewhere, and fills tree with its files
  local label
  drive=$scratch/drive
  if [[ $drive_is_url == true ]]; then
    fetch_drive
  else
    jq -j .drive "$given" >"$drive"
  fi
  decode_drive
  [[ -z ${PT_sha256:-} || $(sha256sum <"$drive") == "$PT_sha256 "* ]] \
    || fail image/refused "hash mismatch: the drive has another sha256 than was given: $(sha256sum <"$drive" | cut -d ' ' -f 1)"
  filesystem=$(blkid --probe --match-tag TYPE --output value "$drive" || true)
  label=$(blkid --probe --match-tag LABEL --output value "$drive" || true)
  [[ ${label,,} == "$drive_label" ]] || fail image/refused "the drive is no config drive: its label is '$label', not $drive_label"
  [[ $filesystem == @(vfat|iso9660) ]] || fail image/refused "the drive is ${filesystem:-no file system}; config drives are vfat or iso9660"
  extract_files_of "$drive" "$tree" || fail image/refused "the drive is damaged: its files cannot be read"
  [[ -e $tree/openstack/latest/meta_data.json || -e $tree/ec2/latest/meta-data.json ]] \
    || fail image/refused 'the drive is no config drive: it has neither openstack/latest/meta_data.json nor ec2/latest/meta-data.json'
}

extract_files_of() { # <file with a file system of the type $filesystem> <empty directory>
  if [[ $filesystem == vfat ]]; then
    mcopy -s -n -i "$1" ::/ "$2"
  else
    xorriso -osirrox on -indev "$1" -extract / "$2" 2>/dev/null
  fi
}

has_right_files() { # succeeds if the files in the image are those that are wanted
  mkdir "$scratch/read"
  extract_files_of "$image" "$scratch/read" && diff -r "$tree" "$scratch/read"
}

fetch_drive() {
  progress 10 'fetching the drive'
  # No argument: a URL may have a password in it.
  curl --silent --fail --globoff --location --retry 3 --retry-all-errors --connect-timeout 20 --speed-limit 1000 --speed-time 60 \
    --max-filesize $((max_drive_bytes * 2)) --output "$drive" --config <(jq -r '"url = \(.drive | tojson)"' "$given") \
    || fail image/failed "the drive could not be fetched: curl ended with $?"
}

decode_drive() { # base64, and gzip in it, as drives are handed around
  local step
  for step in 1 2; do
    if [[ $(head -c 2 "$drive" | od -An -tx1) == ' 1f 8b' ]]; then
      # Of one that is too large, gzip cannot write the rest.
      gzip -dc "$drive" 2>/dev/null | head -c $((max_drive_bytes + 1)) >"$drive.plain" \
        || (($(stat --format=%s "$drive.plain") > max_drive_bytes)) || fail image/refused 'the drive is truncated or corrupt gzip'
    elif ((step == 1)) && [[ $(head -c 64 "$drive" | tr -d 'A-Za-z0-9+/=\r\n' | wc -c) == 0 ]]; then
      base64 --decode --ignore-garbage "$drive" >"$drive.plain" || fail image/refused 'the drive is truncated or corrupt base64'
    else
      continue
    fi
    mv "$drive.plain" "$drive"
  done
  (($(stat --format=%s "$drive") <= max_drive_bytes)) || fail image/refused 'the drive is larger than 64 MiB'
}

choose_filesystem() { # <sector size of the disk>: sets filesystem; a drive of a kind that could not be mounted is made anew
  local wanted=${PT_filesystem:-auto}
  # The blocks of ISO 9660 have 2048 bytes, and no file system can have blocks smaller than the sectors it is on.
  if (($1 > 2048)); then
    [[ $wanted != iso9660 ]] || fail image/refused "sectors of $1 bytes cannot hold ISO 9660: leave filesystem out, or say vfat"
    [[ -z ${drive:-} ]] || log "the drive is made anew as FAT with sectors of $1 bytes, the disk's own"
    drive=
    filesystem=vfat
  elif [[ -n ${drive:-} && $wanted != @(auto|"$filesystem") ]]; then
    fail image/refused "the drive that was given is $filesystem, not $wanted"
  elif [[ -z ${drive:-} ]]; then
    filesystem=${wanted/#auto/iso9660}
  fi
}

bytes_needed() { # prints them: those of the drive that was given, or more than enough
  if [[ -n ${drive:-} ]]; then
    stat --format=%s "$drive"
  else
    find "$tree" -printf '%s\n' | awk '{ sum += int($1 / 4096 + 2) * 4096 } END { print sum + 2 * 1024 * 1024 }'
  fi
}

build_image() { # <bytes of the partition> <sector size>: sets image, a file of that size with the file system in it
  image=$scratch/image
  if [[ -n ${drive:-} ]]; then
    mv "$drive" "$image"
  elif [[ $filesystem == iso9660 ]]; then
    xorriso -as mkisofs -quiet -volid "$drive_label" -joliet -rational-rock -output "$image" "$tree" 2>&1
  else
    truncate --size "$1" "$image"
    # In lower case, as those who look for it by label know it longest.
    mkfs.vfat -S "$2" -n "$drive_label" "$image" && mcopy -s -i "$image" "$tree"/* ::/
  fi || fail image/failed 'the file system could not be made: the log tells more'
  (($(stat --format=%s "$image") <= $1)) || fail image/failed "the file system is larger than its partition of $1 bytes: nothing was written"
  truncate --size "$1" "$image"
  has_right_files || fail image/failed 'the file system does not hold the files that were wanted: nothing was written'
}
