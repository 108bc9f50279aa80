# shellcheck shell=bash
# Gets a tarball onto the node and makes sure that it is the right one: from mirrors, with resume, or out of the request.
# It knows nothing of what is in it. Needs the library's ur.sh; $folder/.fetched is where downloads are kept.

attempts=() # each try of a mirror: JSON

fetch() { # <sha256> <URLs, one a line>: sets tarball; what is already here is not fetched again
  local url round
  mkdir -p "$folder/.fetched"
  # By hash, so that an interrupted download goes on, from whichever mirror and in whichever run of the task.
  tarball=$folder/.fetched/$1
  fetched_from=${2%%$'\n'*}
  if is_right "$tarball" "$1"; then return; fi
  for round in 1 2 3; do
    while read -r url; do
      if try_mirror "$url" "$tarball.part" && is_right "$tarball.part" "$1"; then
        mv "$tarball.part" "$tarball"
        fetched_from=$url
        return
      fi
    done <<<"$2"
    log "no mirror had it in round $round"
  done
  fail agent/not-fetched 'no mirror gave the tarball with this sha256: attempts tells what each did' \
    "{\"attempts\":$(attempts_list)}"
}

try_mirror() { # <url> <file>: fetches what the file lacks
  local status=0 code had
  had=$(size_of "$2")
  # Slower than a kilobyte a second for a minute is dead. The proxy is as in the environment, unless one is given.
  # What may have a password in it is no argument: those are for all to see.
  code=$(curl --silent --show-error --fail --location --connect-timeout 20 --speed-limit 1000 --speed-time 60 \
    --continue-at - --write-out '%{http_code}' --output "$2" --config <(
      printf 'url = %s\n' "$(json_string "$1")"
      [[ -z ${PT_proxy:-} ]] || printf 'proxy = %s\n' "$(json_string "$PT_proxy")"
    )) || status=$?
  attempts+=("{\"url\":$(json_string "$(without_password "$1")"),\"http\":$((10#${code:-0})),\"curl\":$status,\"had\":$had,\"has\":$(size_of "$2")}")
  log "${attempts[-1]}"
  # A server that cannot resume, or has less than is here, is asked again from the beginning.
  if ((had > 0)) && [[ $status == 33 || $code == 416 ]]; then
    rm -f "$2"
    try_mirror "$1" "$2"
    return
  fi
  ((status == 0))
}

is_right() { # <file> <sha256>: a complete file with other content is of no use, and goes
  [[ -e $1 ]] || return 1
  [[ $(sha256sum <"$1") != "$2 "* ]] || return 0
  log "$1 has another sha256: $(sha256sum <"$1" | cut -d ' ' -f 1)"
  rm -f "$1"
  return 1
}

size_of() { # <file>
  stat --format=%s "$1" 2>/dev/null || printf 0
}

without_password() { # <url>: neither what stands before the host nor a query is for everyone's eyes
  sed -E 's#://[^/@]*@#://#; s#\?.*#?…#' <<<"$1"
}

attempts_list() { # prints them as a JSON array
  printf '%s\n' "${attempts[@]}" | jq -sc .
}

take_content() { # <sha256>: sets tarball from the request itself
  mkdir -p "$folder/.fetched"
  tarball=$folder/.fetched/$1
  fetched_from=request
  # A value too big for the environment comes on standard input.
  if [[ -n ${PT_content:-} ]]; then printf '%s' "$PT_content"; else jq -r '.content // ""'; fi | base64 --decode >"$tarball" \
    || fail agent/not-fetched 'content is not base64'
  is_right "$tarball" "$1" || fail agent/not-fetched 'content has another sha256 than was given'
}

check_signature() { # by minisign, if a key was given
  local file=$tarball.minisig
  [[ -n ${PT_minisign_key:-} ]] || return 0
  rm -f "$file"
  if [[ -n ${PT_signature:-} ]]; then printf '%s\n' "$PT_signature" >"$file"; else fetch_signature "$file"; fi
  [[ -s $file ]] || fail agent/not-signed 'a minisign_key was given, but there is no signature: neither the parameter nor at a url with .minisig'
  minisign -V -q -P "$PT_minisign_key" -m "$tarball" -x "$file" || fail agent/not-signed 'the signature is not by minisign_key, or not of this tarball'
}

fetch_signature() { # <file>
  local url
  while read -r url; do
    if [[ -n $url ]] && try_mirror "$url.minisig" "$1"; then return; fi
    rm -f "$1"
  done < <(items "${PT_urls:-[]}")
}
