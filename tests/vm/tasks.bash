# shellcheck shell=bash
# Tasks and commands on machine 1, and what comes back. Needs vm.bash.

run_task() { # <argument of ur run>…: sets status, and output to the result
  status=0
  ur run -q -n "$(uuid_of 1)" -J "$@" >"$BATS_TEST_TMPDIR/run" || status=$?
  output=$(jq -c '.result.stdout | fromjson' "$BATS_TEST_TMPDIR/run")
  # bats shows both when the test fails.
  jq -r '.result.stderr' "$BATS_TEST_TMPDIR/run"
  printf '%s\n' "$output"
}

answer() { # <jq filter> <expected>: compares a part of the result
  diff <(printf '%s\n' "$2") <(jq -r "$1" <<<"$output")
}

on_node() { # <command>: prints its output
  ur exec -q -n "$(uuid_of 1)" -J "$1" | jq -j .result.stdout
}
