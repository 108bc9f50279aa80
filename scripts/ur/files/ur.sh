# shellcheck shell=bash
# What every task needs of the world that called it: parameters, one JSON result, a log, progress, programs and
# time limits. It knows nothing of disks, and needs no program beyond bash and coreutils.

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

log() { # <text>: a line for the person who watches
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

json_string() { # <text>: prints it as a JSON string
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\t'/\\t}
  text=${text//$'\r'/\\r}
  text=${text//[[:cntrl:]]/}
  printf '"%s"' "$text"
}

items() { # <JSON array, or nothing>: prints its elements, one a line: strings as they are, the rest as JSON
  [[ -z $1 ]] || jq -r '.[] | if type == "string" then . else tojson end' <<<"$1"
}

noop() { # succeeds if the task shall only tell what it would do
  [[ ${PT__noop:-false} == true ]]
}

progress() { # <percent> <text> [<seconds left>]: for whoever waits; where nobody can hear it, nothing
  [[ -n ${UR_PROGRESS:-} ]] || return 0
  printf '{"percent":%d,%s"msg":%s}\n' "$1" "${3:+\"eta\":$3,}" "$(json_string "$2")" >>"$UR_PROGRESS"
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
  timeout --kill-after=10 "$@" </dev/null
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

trace() { # writes each command to a file beside the job's other files; call it when no secret is in sight any more
  [[ -n ${UR_JOB_DIR:-} ]] || return 0
  (umask 077 && : >>"$UR_JOB_DIR/trace")
  exec {BASH_XTRACEFD}>>"$UR_JOB_DIR/trace"
  PS4='+ ${EPOCHREALTIME:-} ${BASH_SOURCE-}:$LINENO ${FUNCNAME:-}: '
  set -x
}
