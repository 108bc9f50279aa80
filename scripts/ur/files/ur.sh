# shellcheck shell=bash
# The frame of a task: its parameters, its one JSON result, its log and progress, the programs and time limits it works
# with. It knows nothing of disks. It needs bash and coreutils, and jq for parameters that are lists.

# Programs write to stdout what they like; the result alone may. So stdout becomes the log, and the result has a
# descriptor of its own.
exec {ur_result}>&1 1>&2
ur_answered=
# How fail ends a subshell, so that its parent does not answer a second time.
readonly ur_failed=79

# An unforeseen error is an answer too: without one the caller would read an empty result.
set -E
shopt -s inherit_errexit
trap 'ur_error="line $LINENO: exit $?: $BASH_COMMAND"' ERR
trap 'ur_end "$?"' EXIT

ur_end() { # <exit status>
  local failed=
  case $1$ur_answered in
    "$ur_failed"*) failed=true ;;
    0 | *answered) ;;
    *) (fail ur/unexpected "the task ended without a result (${ur_error:-exit $1}): its log tells more") || failed=true ;;
  esac
  rm -rf -- "${scratch:-}"
  [[ -z $failed ]] || exit 1
}

# --- the one masking of secrets: these lines stand in ur.sh and in sysinfo.sh, which runs alone ---

# A name that says so, in any case: rather one too many than one too few.
secret_name='([a-z0-9_.%*-]*(passw|passphrase|passcode|secret|token|cred|signature|(api|access|account|auth|client|encryption|master|private|shared|signing)[._-]?key)[a-z0-9_.*-]*|[a-z0-9_.%*-]*(pass|pwd|pw|psk)[0-9]*)'
# A word to its end, with what is quoted in it. A quote before a comma, bracket or colon ends a string of JSON.
secret_word='([^]["'\''\\{\n[:space:]]|\\[^"'\''])([^"\\\n[:space:]]|\\[^"]|"[^]"},:;)\\[:space:]]|"[[:blank:]]+"|"[^]"},:;)\\[:space:]][^"]*("|$))*'
# What is masked already is a newline, which no rule takes for a part of a secret.
secret_rules='
# What a header says of its sender
s/(authori[sz]ation:[[:blank:]]*digest[[:blank:]]).*/\1\n/gI
s/((authori[sz]ation|cookie)\\*["'\'']?[[:blank:]]*[:=][[:blank:]]*\\*["'\'']?)[^"'\''\\]+/\1\n/gI
s/(bearer[[:blank:]]+)[^"'\''\\,;[:space:]]+/\1\n/gI
# Arguments of programs
s/((^|["'\''[:space:]])(-u|--user|--proxy-user)[=[:space:]]*["'\'']?[^:"'\''[:space:]]+:)[^"'\''[:space:]]+/\1\n/g
s/((ipmitool|sshpass)[^|;]*[[:blank:]]-[Pp][[:blank:]]*)[^[:space:]]+/\1\n/g
s/((^|["'\''[:space:]])--?'"$secret_name"'[[:blank:]]+)("[^"]*"|'\''[^'\'']*'\''|[^-"'\''[:space:]][^[:space:]]*)/\1\n/gI
# What has such a name: in quotes as a whole, behind an escaped quote, a quote, as JSON, as a word
s/("'"$secret_name"'=)([^"\\]|\\[^"])*/\1\n/gI
s/('\'''"$secret_name"'=)[^'\'']*/\1\n/gI
s/('"$secret_name"'\\+"[[:blank:]]*:[[:blank:]]*\\+")([^"\\]|\\+[^"\\])*/\1\n/gI
s/('"$secret_name"'["'\'']?[[:blank:]]*[:=]>?[[:blank:]]*")([^"\\]|\\.)*/\1\n/gI
s/('"$secret_name"'["'\'']?[[:blank:]]*[:=]>?[[:blank:]]*'\'')[^'\'']*/\1\n/gI
s/('"$secret_name"'"[[:blank:]]*:[[:blank:]]*)(\[[^]]*\]|[^][{},"[:space:]]+)/\1"\n"/gI
s/('"$secret_name"'(=|[[:blank:]]+=[[:blank:]]+|:[[:blank:]]*))'"$secret_word"'/\1\n/gI
s/((^|["'\''?&[:space:]])(key|auth|sig|sas|jwt|code|session[a-z_-]*)=)'"$secret_word"'/\1\n/gI
# The user:password:host:port of Triton
s/(rabbitmq(=|":[[:blank:]]*")[^:"[:space:]]*):[^"[:space:]]*(:[^:"[:space:]]*:[^:"[:space:]]*)/\1:\n\3/g
s/(rabbitmq=[^:"[:space:]]*):[^:"\n[:space:]]+(:[^:"[:space:]]*)?(["[:space:]]|$)/\1:\n\3/g
s/(rabbitmq=)"[^"]*/\1"\n/g
s/("rabbitmq=[^:"]*:)[^"]*[[:blank:]][^"]*/\1\n/g
# What stands before the host of a URL, up to its last @; a name without a password is a token
s~(://)[^][/@:?#"'\''[:space:]]+:(x-oauth-basic)?@~\1\n@~g
s~(://)[^][/:?#"'\''[:space:]]*@[^][/@:?#"'\''[:space:]]*:([^/"'\''\\[:space:]]|["'\''\\][^]},:;[:space:]])*@~\1\n@~g
s~(://[^][/@:?#"'\''[:space:]]*):[0-9]*[^][0-9/@"'\''[:space:]][^/@"'\''[:space:]]*/[^"'\''[:space:]]*@~\1:\n@~g
s~(://[^][/@:?#"'\''[:space:]]*):([^/"'\''\\[:space:]]|["'\''\\][^]},:;[:space:]])*@~\1:\n@~g
s~(://)[^][/:?#"'\''\n[:space:]]+@~\1\n@~g
s~(^|["'\''=(,[:space:]])([^][/@:?#=("'\''[:space:]]+):[^/"'\''[:space:]]+@~\1\2:\n@~g
s~(=[^][/@:?#="'\''[:space:]]+):([^/@"'\''[:space:]]+/)+[^/@"'\''[:space:]]*@~\1:\n@~g
# What shows by its form: hashes of passwords, JSON web tokens
s/\$(1|5|6|y|2[aby])\$[a-zA-Z0-9./=,$]{8,}/\n/g
s/eyJ[a-zA-Z0-9_-]{8,}\.[a-zA-Z0-9_-]+\.[a-zA-Z0-9_-]*/\n/g
s/\n/***/g
'

mask_secrets() { # reads text; prints it with *** in the place of each password, key and token
  LC_ALL=C sed -E "$secret_rules"
}

# --- end of the masking ---

log() { # <text>: a line for the operator
  printf '%s\n' "$*" | mask_secrets >&2
}

result() { # <JSON object>: what the task answers; once
  ur_answered=answered
  printf '%s\n' "$1" >&"$ur_result"
}

fail() { # <kind> <message> [<JSON object>]: answers with an error, and what else there is to say, and ends
  local msg rest=${3:-}
  msg=$(mask_secrets <<<"$2") || msg='the message cannot be shown: sed, which hides secrets in it, failed'
  [[ -n $rest ]] || rest=$(known_result)
  rest=${rest#\{}
  [[ $rest == \} ]] || rest=,$rest
  printf '%s\n' "$msg" >&2
  result "{\"_error\":{\"kind\":$(json_string "$1"),\"msg\":$(json_string "$msg"),\"details\":{}}$rest"
  exit "$ur_failed"
}

known_result() { # prints what is known so far, as a JSON object: a task that has more to say than its error defines known_so_far
  local known=
  ! declare -F known_so_far >/dev/null || known=$(known_so_far 2>/dev/null) || known=
  printf '%s' "${known:-"{}"}"
}

# JSON is made by the shell itself where that is easy: a jq takes 20 ms to start, and many times that in an emulated machine.

to_json() { # <variable> <text>: sets the variable to the text as a JSON string
  local -n ur_json=$1
  ur_json=$2
  if [[ $ur_json == *[\"\\[:cntrl:]]* ]]; then
    ur_json=${ur_json//\\/\\\\}
    ur_json=${ur_json//\"/\\\"}
    ur_json=${ur_json//$'\n'/\\n}
    ur_json=${ur_json//$'\t'/\\t}
    ur_json=${ur_json//$'\r'/\\r}
    ur_json=${ur_json//[[:cntrl:]]/}
  fi
  ur_json=\"$ur_json\"
}

json_string() { # <text>: prints it as a JSON string
  local quoted
  to_json quoted "$1"
  printf '%s' "$quoted"
}

json_strings() { # reads lines; prints a JSON array of them
  local line quoted array=''
  while IFS= read -r line || [[ -n $line ]]; do
    to_json quoted "$line"
    array+=,$quoted
  done
  printf '[%s]' "${array#,}"
}

json_array() { # <JSON values, one a line, or nothing>: prints a JSON array of them
  printf '[%s]' "${1//$'\n'/,}"
}

items() { # <JSON array, or nothing>: prints its elements, one a line: strings as they are, the rest as JSON
  [[ -z $1 || $1 == '[]' ]] || jq -r '.[] | if type == "string" then . else tojson end' <<<"$1"
}

noop() { # succeeds if the task shall only tell what it would do
  [[ ${PT__noop:-false} == true ]]
}

progress() { # <percent> <text> [<seconds left>]: a line for the agent, which passes it on; nothing without an agent
  [[ -n ${UR_PROGRESS:-} ]] || return 0
  # A full disk must not end the work that the progress is about.
  printf '{"percent":%d,%s"msg":%s}\n' "$1" "${3:+\"eta\":$3,}" "$(json_string "$2")" 2>/dev/null >>"$UR_PROGRESS" || true
}

need() { # <program>[:<Debian package>]…: ends the task unless all are here, before it has done anything
  local wanted missing=()
  # A script sent over the wire may have been given a PATH without the directories where disk tools live.
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  for wanted; do
    command -v "${wanted%%:*}" >/dev/null || missing+=("${wanted%%:*} (Debian package ${wanted##*:})")
  done
  ((${#missing[@]} == 0)) && return
  printf -v wanted '%s, ' "${missing[@]}"
  fail ur/missing-program "missing on this node: ${wanted%, }: install it or add it to the boot image"
}

make_scratch() { # sets $scratch to a new directory that is gone when the task ends
  scratch=$(mktemp -d "${UR_JOB_DIR:-${TMPDIR:-/tmp}}/scratch.XXXXXX")
}

limited() { # <seconds> <program> [<argument>…]: its exit status, or 124 if it had to be stopped
  # Without the result's descriptor: a daemon that stays behind would hold up the agent, which reads the result to its end.
  timeout --kill-after=10 "$@" </dev/null {ur_result}>&-
}

wait_until() { # <seconds> <command> [<argument>…]: polls until it succeeds; fails when the time is over
  # A day of polling would fill the trace.
  local -
  set +x
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

has_ended() { # <pid of a child>
  ! kill -0 "$1" 2>/dev/null
}

trace() { # from here on writes each command to a file beside the job's other files: call it where no secret can get there
  [[ -n ${UR_JOB_DIR:-} ]] || return 0
  (umask 077 && : >>"$UR_JOB_DIR/trace")
  exec {BASH_XTRACEFD}>>"$UR_JOB_DIR/trace"
  PS4='+ ${EPOCHREALTIME:-} ${BASH_SOURCE-}:$LINENO ${FUNCNAME:-}: '
  set -x
}
