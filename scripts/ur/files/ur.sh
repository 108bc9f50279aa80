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
  rm -rf -- "${scratch:-}"
  case $1$ur_answered in
    "$ur_failed"*) exit 1 ;;
    0 | *answered) ;;
    *) (fail ur/unexpected "the task ended without a result (${ur_error:-exit $1}): its log tells more") || exit 1 ;;
  esac
}

log() { # <text>: a line for the operator
  printf '%s\n' "$*" >&2
}

result() { # <JSON object>: what the task answers; once
  ur_answered=answered
  printf '%s\n' "$1" >&"$ur_result"
}

fail() { # <kind> <message> [<JSON object>]: answers with an error, and what else there is to say, and ends
  local rest=${3:-'{}'}
  rest=${rest#\{}
  [[ $rest == \} ]] || rest=,$rest
  log "$2"
  result "{\"_error\":{\"kind\":$(json_string "$1"),\"msg\":$(json_string "$2"),\"details\":{}}$rest"
  exit "$ur_failed"
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
  while IFS= read -r line; do
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
