# shellcheck shell=bash
# The hash that an image must have: given, or found in a checksum file. Needs the library's ur.sh and mirrors.sh.

read_checksum() { # <digits, or nothing> <URL of a checksum file, or nothing> <names that the image has there, one a line>: prints the digits
  if [[ -n $1 ]]; then
    algorithm_of "$1" >/dev/null
    printf '%s' "${1,,}"
  elif [[ -n $2 ]]; then
    try_mirrors "$2" fetch_sums \
      || fail image/not-fetched "the checksum file cannot be fetched: attempts tells why" "{\"attempts\":$(attempts_list)}"
    find_sum "$3" <"$scratch/sums"
  fi
}

algorithm_of() { # <digits>: prints the name of the hash that has so many
  case $1 in
    *[!0-9a-fA-F]*) fail image/refused "checksum $1 is not hexadecimal" ;;
    *) case ${#1} in
      64) printf sha256 ;;
      96) printf sha384 ;;
      128) printf sha512 ;;
      *) fail image/refused "checksum $1 has ${#1} digits: a sha256 has 64, a sha384 has 96, a sha512 has 128" ;;
    esac ;;
  esac
}

fetch_sums() { # <url>: fetches a checksum file, or as much of one as is sensible
  request "$1" | head -c 4194304 >"$scratch/sums"
  read_response "$1"
  response[bytes]=$(size_of "$scratch/sums")
  record_request "$1" 0
  # What was learned of its length says nothing about the image.
  content_length=
  ((response[curl] == 0))
}

find_sum() { # <names, one a line>: prints the strongest hash that the checksum file on standard input has for one of them
  local names=$1 line digits name found=() bare=() best=
  local gnu='^\\?([0-9a-fA-F]{64,128})[[:space:]]+\*?(.+)$' bsd='^SHA[0-9-]* ?\((.+)\) ?= ?([0-9a-fA-F]{64,128})$'
  # Files of other systems begin with a byte order mark, have zeros between their characters (which read drops), end their
  # lines with a carriage return, or their last one with nothing.
  while read -r line || [[ -n $line ]]; do
    line=${line#$'\xef\xbb\xbf'}
    line=${line#$'\xff\xfe'}
    line=${line%"${line##*[![:space:]]}"}
    if [[ $line =~ $gnu ]]; then
      digits=${BASH_REMATCH[1]} name=${BASH_REMATCH[2]}
    elif [[ $line =~ $bsd ]]; then
      digits=${BASH_REMATCH[2]} name=${BASH_REMATCH[1]}
    else
      [[ ! $line =~ ^[0-9a-fA-F]{64,128}$ ]] || bare+=("${line,,}")
      continue
    fi
    # There are files that have a path before the name.
    ! grep -qxF -- "${name##*/}" <<<"$names" || found+=("${digits,,}")
  done
  ((${#found[@]})) || ((${#bare[@]} != 1)) || found=("${bare[0]}")
  for digits in "${found[@]}"; do
    ((${#digits} >= ${#best})) || continue
    [[ ${#digits} != "${#best}" || $digits == "$best" ]] \
      || fail image/refused "the checksum file has two hashes for the image: $best and $digits"
    best=$digits
  done
  [[ -n $best ]] || fail image/refused "the checksum file has no sha256, sha384 or sha512 of ${names//$'\n'/, }"
  algorithm_of "$best" >/dev/null
  printf '%s' "$best"
}

file_names_of() { # <URLs, one a line>: prints the file names that they end in
  local url
  while read -r url; do
    url=${url%%[?#]*}
    url=${url##*/}
    url=${url//\\/\\\\}
    printf '%b\n' "${url//%/\\x}"
  done <<<"$1" | sort -u
}
