# shellcheck shell=bash
# The count of jq processes that a task starts, which cost more than all that it asks of them: a jq in front of PATH adds a
# line to a file and becomes the real one. With UR_JQ=/path/to/jaq all tests run the tasks with that instead of the node's jq.

if [[ -n ${UR_JQ:-} ]]; then
  mkdir -p "$BATS_RUN_TMPDIR/jq"
  ln -sf "$UR_JQ" "$BATS_RUN_TMPDIR/jq/jq"
  # What a test itself asks is for the node's. It is found once: bats loads this again, with the PATH from below.
  export NODES_JQ=${NODES_JQ:-$(type -P jq)}
  jq() { "$NODES_JQ" "$@"; }
  PATH=$BATS_RUN_TMPDIR/jq:$PATH
fi

starts_jq_at_most() { # <number> <command>…: runs it here, and fails if it started jq more often
  local most=$1 counter=$BATS_TEST_TMPDIR/jq-counter starts
  shift
  mkdir -p "$counter"
  : >"$counter/starts"
  printf '#!/bin/sh\necho >>%q\nexec %q "$@"\n' "$counter/starts" "$(type -P jq)" >"$counter/jq"
  chmod +x "$counter/jq"
  local PATH=$counter:$PATH
  "$@"
  starts=$(wc -l <"$counter/starts")
  printf 'jq was started %d times; %d are allowed\n' "$starts" "$most"
  ((starts <= most))
}
