# shellcheck shell=bash
# The tarball of an agent: from mirrors, with resume, or out of the request; and its hash and signature. What is in it is
# unknown here. Needs the library's ur.sh and mirrors.sh, and folder.sh; downloads are kept in $folder/.fetched.

fetch_tarball() { # <sha256> <URLs, one a line>: sets tarball and fetched_from; what is already here is not fetched again
  mkdir -p "$folder/.fetched"
  # By hash, so that an interrupted download goes on, from whichever mirror and in whichever run of the task.
  tarball=$folder/.fetched/$1
  fetched_from=${2%%$'\n'*}
  ! has_hash "$tarball" sha256 "$1" || return 0
  # What came of it stays, so that the next run goes on there.
  fetch_file "$tarball" sha256 "$1" "$2" || {
    forget_agent_without_version
    fail agent/not-fetched "$fetch_error: attempts tells what each mirror did; compare sha256 with the tarball" "{\"attempts\":$(attempts_list)}"
  }
  [[ ! -s $scratch/sources_used ]] || fetched_from=$(tail -n 1 "$scratch/sources_used")
}

take_content() { # <sha256>: sets tarball and fetched_from, from the request itself
  mkdir -p "$folder/.fetched"
  tarball=$folder/.fetched/$1
  fetched_from=request
  # A value too big for the environment comes on standard input.
  if [[ -n ${PT_content:-} ]]; then printf '%s' "$PT_content"; else jq -r '.content // ""'; fi | base64 --decode >"$tarball" \
    || refuse_tarball agent/not-fetched 'content is not base64'
  has_hash "$tarball" sha256 "$1" || refuse_tarball agent/not-fetched 'hash mismatch: content has another sha256 than was given'
}

check_signature() { # by minisign, if a key was given
  local file=$tarball.minisig
  [[ -n ${PT_minisign_key:-} ]] || return 0
  rm -f "$file"
  if [[ -n ${PT_signature:-} ]]; then
    printf '%s\n' "$PT_signature" >"$file"
  else
    # Of a URL with a query the name ends before that.
    try_mirrors "$(items "${PT_urls:-[]}" | sed -E 's/([?#].*)?$/.minisig\1/')" fetch_signature "$file" || true
  fi
  [[ -s $file ]] || refuse_tarball agent/not-signed 'a minisign_key was given, but there is no signature: neither the parameter nor at a url with .minisig'
  minisign -V -q -P "$PT_minisign_key" -m "$tarball" -x "$file" || refuse_tarball agent/not-signed 'signature mismatch: it is not by minisign_key, or not of this tarball'
}

fetch_signature() { # <file> <url>
  request "$2" >"$1"
  read_response "$2"
  response[bytes]=$(size_of "$1")
  record_request "$2" 0
  if ((response[curl] == 0)); then return; fi
  rm -f "$1"
  return 1
}
