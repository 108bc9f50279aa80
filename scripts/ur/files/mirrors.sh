# shellcheck shell=bash
# Downloads one content from whichever of its mirrors has it: as a stream, or into a file whose hash is known. A transfer that
# breaks goes on where it was, at the next mirror, and the reader of the stream sees no seam. Whether a stream's content is
# right is for its reader to check. Needs the library's ur.sh, $scratch and curl.

stream_offset=0        # bytes of the content that were passed on
content_length=        # of the whole content, once a mirror has said so
rejected_mirrors=      # mirrors that are not asked again, one a line
reader_gone=           # set when the reader of the stream has ended
declare -A etags=()    # by URL: the ETag of the content that the mirror gave
declare -A response=() # of the last request: curl (its exit status), http (the status code), bytes, error

try_mirrors() { # <URLs, one a line> <command> [<argument>…]: calls it with each URL added until it succeeds
  local url urls=$1 round before
  shift
  # Three rounds in which nothing moves are the end. A mirror that is only busy is free again in a moment; one that
  # breaks after each bit gets there too.
  for ((round = 1; round <= 3; round++)); do
    before=$stream_offset
    while read -r url; do
      is_rejected "$url" || ! "$@" "$url" || return 0
      [[ -z $reader_gone ]] || return 1
    done <<<"$urls"
    ((stream_offset == before)) || round=0
    has_usable_mirror "$urls" || return 1
    sleep "$round"
  done
  return 1
}

is_rejected() { # <url>
  [[ -z $1 || $'\n'$rejected_mirrors == *$'\n'"$1"$'\n'* ]]
}

has_usable_mirror() { # <URLs, one a line>: succeeds if one of them is worth another attempt
  local url
  while read -r url; do
    is_rejected "$url" || return 0
  done <<<"$1"
  return 1
}

stream_from_mirrors() { # <URLs, one a line>: passes on the content, from byte $stream_offset on
  try_mirrors "$1" stream_from
}

# A content that came from several mirrors in parts and is wrong was spoilt by one of them, and which one is not known: so
# after that each of them is asked for all of it.
fetch_until_right() { # <URLs, one a line> <command>: calls it with URLs added, until what they give is right; fails if none of them gives that
  local url urls=$1
  while [[ -n $urls ]]; do
    : >"$scratch/sources_used"
    ! "$2" "$urls" || return 0
    case $(sort -u "$scratch/sources_used" | wc -l) in
      0) return 1 ;;
      1) urls=$(grep -vxF -f "$scratch/sources_used" <<<"$urls" || true) ;;
      *) break ;;
    esac
  done
  while read -r url; do
    [[ -z $url ]] || ! "$2" "$url" || return 0
  done <<<"$urls"
  return 1
}

stream_from() { # <url>: succeeds if this was the rest of the content
  local from=$stream_offset whole=
  rm -f "$scratch/mismatch"
  if ((from == 0)); then
    content_length=
    request "$1"
  else
    request "$1" --continue-at "$from" | resume_stream "$1" 0 || true
    # A server that knows no ranges gives all of it again.
    if [[ $(curl_status) == 33 ]]; then
      whole=true
      request "$1" | resume_stream "$1" "$from" || true
    fi
  fi
  read_response "$1"
  if [[ -e $scratch/mismatch ]]; then
    response[bytes]=0
    response[error]=$(<"$scratch/mismatch")
    rejected_mirrors+=$1$'\n'
  elif ((response[curl] == 23)); then
    reader_gone=true
  fi
  [[ -z $whole ]] || response[bytes]=$((response[bytes] > from ? response[bytes] - from : 0))
  record_request "$1" "$from"
  stream_offset=$((from + response[bytes]))
  if ((response[bytes] > 0 || response[curl] == 0)); then printf '%s\n' "$1" >>"$scratch/sources_used"; fi
  if [[ -n $content_length ]]; then ((stream_offset == content_length)); else ((response[curl] == 0)); fi
}

resume_stream() { # <url> <bytes to leave out>: passes on what comes, if it is of the same content
  local first=$scratch/first
  head -c "$2" >/dev/null
  # By its first byte the headers are here.
  head -c 1 >"$first"
  [[ -s $first ]] || return 0
  is_same_content "$1" >"$scratch/mismatch" || return 0
  rm "$scratch/mismatch"
  cat "$first" -
}

is_same_content() { # <url>: succeeds unless the mirror answers with another content than before, and then prints why
  local total etag
  response_length total
  response_header etag etag
  if [[ -n $total && -n $content_length && $total != "$content_length" ]]; then
    printf 'content mismatch: it has %s bytes, not %s' "$total" "$content_length"
  elif [[ -n $etag && -n ${etags[$1]:-} && $etag != "${etags[$1]}" ]]; then
    printf 'content mismatch: its ETag has changed in the meantime'
  else
    return 0
  fi
  return 1
}

request() { # <url> [<curl's argument>…]: prints the body; what was answered is for response_header and read_response
  local url=$1
  shift
  [[ -z ${PT_ca:-} ]] || printf '%s\n' "$PT_ca" >"$scratch/ca.pem"
  rm -f "$scratch/headers"
  # Slower than a kilobyte a second for a minute is dead. The proxy is as in the environment, unless one is given.
  # What may have a password in it is no argument: those are for all to see.
  # Brackets and braces in a URL are characters of a name, not curl's patterns.
  curl --silent --fail --globoff --location --connect-timeout 20 --speed-limit 1000 --speed-time "${PT_stall_timeout:-60}" \
    --dump-header "$scratch/headers" --write-out '%{stderr}%{exitcode} %{http_code} %{size_download}\n%{errormsg}\n' "$@" \
    --config <(
      printf 'url = %s\n' "$(json_string "$url")"
      [[ -z ${PT_proxy:-} ]] || printf 'proxy = %s\n' "$(json_string "$PT_proxy")"
      [[ -z ${PT_ca:-} ]] || printf 'cacert = %s\n' "$(json_string "$scratch/ca.pem")"
    ) 2>"$scratch/answer" </dev/null || true
}

curl_status() { # prints curl's exit status in the last request
  local status
  read -r status _ <"$scratch/answer" && printf '%s' "$status"
}

response_header() { # <variable> <name of a header, in lower case>: sets it to the last word of that header, or to nothing
  local ur_line ur_value=
  [[ ! -e $scratch/headers ]] || while IFS= read -r ur_line; do
    ur_line=${ur_line%"${ur_line##*[![:space:]]}"}
    case ${ur_line,,} in
      # Those before were redirections.
      http/*) ur_value= ;;
      "$2":*) ur_value=${ur_line##*[[:blank:]]} ;;
    esac
  done <"$scratch/headers"
  printf -v "$1" %s "$ur_value"
}

response_length() { # <variable>: sets it to the length of the whole content, or to nothing
  local ur_length
  # bytes 7-99/100
  response_header ur_length content-range
  ur_length=${ur_length##*/}
  [[ -n $ur_length ]] || response_header ur_length content-length
  # What is longer than the shell's numbers is no length; a zero in front would make it octal.
  if [[ $ur_length =~ ^0*([0-9]{1,18})$ ]]; then ur_length=$((10#${BASH_REMATCH[1]})); else ur_length=; fi
  printf -v "$1" %s "$ur_length"
}

read_response() { # <url>: sets response; keeps the content's length and ETag
  local status code bytes error etag
  { read -r status code bytes && read -r error; } <"$scratch/answer" \
    || status=-1 code=0 bytes=0 error='curl did not end by itself'
  code=$((10#$code))
  # The body of an error is not passed on.
  if ((code >= 300 || status == 22 || status == 33)); then bytes=0; fi
  # Not there, not allowed, no such range: asking again is no use. Too early, too many and too slow pass.
  if ((code >= 400 && code < 500)) && ((code != 408 && code != 425 && code != 429)); then rejected_mirrors+=$1$'\n'; fi
  response=([curl]=$status [http]=$code [bytes]=$bytes [error]=$error)
  if ((code == 200 || code == 206)) && [[ ! -e $scratch/mismatch ]]; then
    [[ -n $content_length ]] || response_length content_length
    response_header etag etag
    [[ -n ${etags[$1]:-} ]] || etags[$1]=$etag
  fi
}

record_request() { # <url> <offset>: keeps the attempt for the result
  local attempt
  attempt="{\"url\":$(json_string "$(without_password "$1")"),\"http\":${response[http]},\"curl\":${response[curl]},\"from\":$2"
  attempt+=",\"bytes\":${response[bytes]}${response[error]:+,\"error\":$(json_string "${response[error]}")}}"
  printf '%s\n' "$attempt" >>"$scratch/attempts"
  log "$attempt"
}

without_password() { # <url>: prints it without password and token, and without all of the query: that may be a secret by any name
  mask_secrets <<<"$1" | sed 's|?.*|?…|'
}

attempts_list() { # prints the attempts as a JSON array
  local all=
  # In a file: most attempts are made by the subshells of a pipeline.
  [[ ! -e $scratch/attempts ]] || all=$(<"$scratch/attempts")
  printf '[%s]' "${all//$'\n'/,}"
}

# A file whose hash is known. As long as it is not complete it is FILE.part, where a later run goes on.

fetch_file() { # <file> <sha256|…> <digits> <URLs, one a line>: succeeds when the file has that hash; else sets fetch_error
  local part=$1.part algorithm=$2 digits=$3
  fetch_error=
  if ! fetch_until_right "$4" fetch_part; then
    fetch_error=${fetch_error:-no mirror has a file with this hash}
    return 1
  fi
  sync "$part" && mv "$part" "$1" && sync "${1%/*}"
}

fetch_part() { # <URLs, one a line>: fetches what $part lacks; succeeds if it has the hash then
  local had
  # All may be there, if the task was ended then.
  ! has_hash "$part" "$algorithm" "$digits" || return 0
  had=$(size_of "$part")
  stream_offset=$had content_length=
  if ! (stream_from_mirrors "$1") >>"$part"; then
    fetch_error='no mirror gave all of it'
    # What is longer than the content is no part of it.
    ((had > 0)) && tail -n 1 "$scratch/attempts" | grep -q '"http":416,' || return 1
    rm -f "$part"
    fetch_part "$1"
    return
  fi
  fetch_error=
  ! has_hash "$part" "$algorithm" "$digits" || return 0
  log "$part: hash mismatch, it is not $digits"
  rm -f "$part"
  # Its beginning was from an earlier run, and its source is not known.
  ((had > 0)) && fetch_part "$1"
}

has_hash() { # <file> <sha256|…> <digits>
  [[ -f $1 && $(hash_of "$2" <"$1") == "$3" ]]
}

hash_of() { # <sha256|…>: prints the digits of what comes on standard input
  # openssl uses the processor's own instructions, which sha256sum does not.
  if command -v openssl >/dev/null; then openssl dgst -r "-$1"; else "${1}sum"; fi | cut -d ' ' -f 1
}

size_of() { # <file>
  stat --format=%s "$1" 2>/dev/null || printf 0
}
