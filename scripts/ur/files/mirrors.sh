# shellcheck shell=bash
# Gets one content from whichever of its mirrors has it. A transfer that breaks goes on where it was, at the next
# mirror, and whoever reads the stream sees no seam. It does not know whether the content is right: whoever reads it
# has a hash. Needs the library's ur.sh, $scratch, curl, awk and jq.

at=0                # bytes of the content that were passed on
length=             # of the whole content, once a mirror has said so
struck=             # mirrors that need not be asked again, one a line
reader_gone=        # set when nobody reads what is passed on
declare -A etags=() # what a mirror calls the version of the content that it gave, by URL

try_mirrors() { # <URLs, one a line> <command> [<argument>…]: calls it with each URL added until it succeeds
  local url urls=$1 round before
  shift
  # Three rounds in which nothing moves are the end. A mirror that is only busy is free again in a moment; one that
  # breaks after each bit gets there too.
  for ((round = 1; round <= 3; round++)); do
    before=$at
    while read -r url; do
      is_hopeless "$url" || ! "$@" "$url" || return 0
      [[ -z $reader_gone ]] || return 1
    done <<<"$urls"
    ((at == before)) || round=0
    has_hope "$urls" || return 1
    sleep "$round"
  done
  return 1
}

is_hopeless() { # <url>
  [[ -z $1 ]] || grep -qxF -- "$1" <<<"$struck"
}

has_hope() { # <URLs, one a line>: succeeds if one of them is worth another attempt
  local url
  while read -r url; do
    is_hopeless "$url" || return 0
  done <<<"$1"
  return 1
}

stream() { # <URLs, one a line>: passes on the content, from byte $at on
  try_mirrors "$1" stream_from
}

until_right() { # <URLs, one a line> <command>: calls it until it finds right what $source, some of the URLs, gives; it ends the task if they give nothing
  local url
  source=$1
  : >"$scratch/givers"
  while [[ -n $source ]]; do
    ! "$2" || return 0
    (($(sort -u "$scratch/givers" | wc -l) == 1)) || break
    source=$(grep -vxF -f "$scratch/givers" <<<"$source" || true)
    : >"$scratch/givers"
  done
  # Nobody can say which of several gave the wrong part: so each alone.
  while read -r url; do
    source=$url
    [[ -z $source ]] || ! "$2" || return 0
  done <<<"$source"
  return 1
}

stream_from() { # <url>: succeeds if this was the rest of the content
  local status code got why from=$at whole=
  rm -f "$scratch/other"
  if ((at == 0)); then
    length=
    ask "$1"
  else
    ask "$1" --continue-at "$at" | go_on "$1" 0 || true
    # A server that knows no ranges gives all of it again.
    if [[ $(said_status) == 33 ]]; then
      whole=true
      ask "$1" | go_on "$1" "$at" || true
    fi
  fi
  hear "$1"
  if [[ -e $scratch/other ]]; then
    got=0 why=$(<"$scratch/other")
    struck+=$1$'\n'
  elif ((status == 23)); then
    reader_gone=true
  fi
  [[ -z $whole ]] || got=$((got > from ? got - from : 0))
  note "$1" "$from"
  at=$((at + got))
  ((got == 0)) || printf '%s\n' "$1" >>"$scratch/givers"
  if [[ -n $length ]]; then ((at == length)); else ((status == 0)); fi
}

go_on() { # <url> <bytes to leave out>: passes on what comes, if it is of the same content
  local first=$scratch/first
  head -c "$2" >/dev/null
  # By its first byte the headers are here.
  head -c 1 >"$first"
  [[ -s $first ]] || return 0
  is_same "$1" >"$scratch/other" || return 0
  rm "$scratch/other"
  cat "$first" -
}

is_same() { # <url>: succeeds unless the mirror answers with another content than before, and then says why
  local total etag
  total=$(said_length)
  etag=$(said etag)
  if [[ -n $total && -n $length && $total != "$length" ]]; then
    printf 'it has another content: %s bytes, not %s' "$total" "$length"
  elif [[ -n $etag && -n ${etags[$1]:-} && $etag != "${etags[$1]}" ]]; then
    printf 'its content has changed in the meantime: by its ETag'
  else
    return 0
  fi
  return 1
}

ask() { # <url> [<curl's argument>…]: prints the body; what was answered is for said, said_length and hear
  local url=$1
  shift
  [[ -z ${PT_ca:-} ]] || printf '%s\n' "$PT_ca" >"$scratch/ca.pem"
  rm -f "$scratch/headers"
  # Slower than a kilobyte a second for a minute is dead. The proxy is as in the environment, unless one is given.
  # What may have a password in it is no argument: those are for all to see.
  curl --silent --fail --location --connect-timeout 20 --speed-limit 1000 --speed-time "${PT_stall_timeout:-60}" \
    --dump-header "$scratch/headers" --write-out '%{stderr}%{exitcode} %{http_code} %{size_download}\n%{errormsg}\n' "$@" \
    --config <(
      printf 'url = %s\n' "$(json_string "$url")"
      [[ -z ${PT_proxy:-} ]] || printf 'proxy = %s\n' "$(json_string "$PT_proxy")"
      [[ -z ${PT_ca:-} ]] || printf 'cacert = %s\n' "$(json_string "$scratch/ca.pem")"
    ) 2>"$scratch/answer" </dev/null || true
}

said_status() { # prints curl's exit status
  head -n 1 "$scratch/answer" | cut -d ' ' -f 1
}

said() { # <name of a header, in lower case>: prints its value in the last answer; those before were redirections
  awk -v name="$1:" '{ sub(/\r$/, "") } /^HTTP\// { value = "" } tolower($1) == name { value = $NF } END { print value }' \
    "$scratch/headers" 2>/dev/null || true
}

said_length() { # prints that of the whole content, or nothing
  local range number
  # bytes 7-99/100
  range=$(said content-range)
  number=${range##*/}
  [[ -n $range ]] || number=$(said content-length)
  [[ ! $number =~ ^[0-9]+$ ]] || printf '%s' "$number"
}

hear() { # <url>: sets status, code, got and why from the answer; keeps its length and ETag
  status=-1 code=0 got=0 why='curl did not end by itself'
  { read -r status code got && read -r why; } <"$scratch/answer" || true
  code=$((10#$code))
  # The body of an error is not passed on.
  if ((code >= 300 || status == 22 || status == 33)); then got=0; fi
  # Not there, not allowed, no such range: asking again is no use. Too early, too many and too slow pass.
  if ((code >= 400 && code < 500)) && ((code != 408 && code != 425 && code != 429)); then struck+=$1$'\n'; fi
  if ((code == 200 || code == 206)) && [[ ! -e $scratch/other ]]; then
    [[ -n $length ]] || length=$(said_length)
    [[ -n ${etags[$1]:-} ]] || etags[$1]=$(said etag)
  fi
}

note() { # <url> <offset>: keeps the attempt for the result
  local attempt
  attempt="{\"url\":$(json_string "$(without_password "$1")"),\"http\":$code,\"curl\":$status,\"from\":$2,\"bytes\":$got,\"error\":$(json_string "$why")}"
  attempt=${attempt/,\"error\":\"\"/}
  printf '%s\n' "$attempt" >>"$scratch/attempts"
  log "$attempt"
}

without_password() { # <url>: neither what stands before the host nor a query is for everyone's eyes
  sed -E 's#://[^/@]*@#://#; s#\?.*#?…#' <<<"$1"
}

attempts_list() { # prints the attempts as a JSON array
  [[ -e $scratch/attempts ]] || : >"$scratch/attempts"
  jq -cs . "$scratch/attempts"
}
