#!/usr/bin/env bats
# logs::collect, of this machine and of a made-up job directory.

bats_require_minimum_version 1.5.0
load machine
load http

setup() {
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  JOB=$BATS_TEST_TMPDIR/jobs/erase-7
  OWN=$BATS_TEST_TMPDIR/jobs/own
  WORK=$BATS_TEST_TMPDIR/work/erase-7/work
  mkdir -p "$JOB" "$OWN" "$WORK" "$BATS_TEST_TMPDIR/work/own/work"
  touch "$OWN/pid"
  cat >"$JOB/request.json" <<'JSON'
{"format":1,"node":"x","routing_key":"ur.execute.x.erase-7","received_at":"2026-01-01T00:00:00Z","message":
 {"type":"script","script":"echo hunter2","args":["hunter2"],"env":{"PT_key":"hunter2"},"stdin":"hunter2","name":"disk::erase","origin":{"user":"ann"}}}
JSON
}

teardown() {
  stop_server
}

collect() { # <parameter>=<value>…
  status=0
  output=$(env UR_JOB_DIR="${OF_OLD_AGENT:-$BATS_TEST_TMPDIR/work/own/work}" UR_REQUEST=own PT__installdir="$SCRIPTS" "${@/#/PT_}" bash "$SCRIPTS/logs/tasks/collect.sh" 2>"$LOG" </dev/null) || status=$?
  tail -n 20 "$LOG"
  jq -c 'if has("archive") then .archive |= length else . end' <<<"$output"
}

unpack() { # unpacks the archive of the result to $LOGS
  LOGS=$BATS_TEST_TMPDIR/unpacked/logs
  mkdir "$BATS_TEST_TMPDIR/unpacked"
  jq -r .archive <<<"$output" | base64 --decode >"$BATS_TEST_TMPDIR/archive"
  zstd --quiet --decompress --stdout "$BATS_TEST_TMPDIR/archive" | tar --extract --directory="$BATS_TEST_TMPDIR/unpacked"
}

@test 'the archive holds what the result lists, and has the size and hash that it says' {
  collect
  ((status == 0))
  unpack
  answer .sha256 "$(sha256sum <"$BATS_TEST_TMPDIR/archive" | cut -d ' ' -f 1)"
  answer .bytes "$(stat --format=%s "$BATS_TEST_TMPDIR/archive")"
  diff <(jq -r '.files[] | select(.verdict != "missing") | "\(.file) \(.bytes)"' <<<"$output" | sort) \
    <(cd "$LOGS" && find . -type f ! -name contents.json -printf '%P %s\n' | sort)
  [[ -s $LOGS/system/processes && -s $LOGS/storage/mounts ]]
}

@test 'what could not be collected is listed with the reason, and is no failure' {
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\necho half; exit 3\n' >"$BATS_TEST_TMPDIR/bin/lspci"
  chmod +x "$BATS_TEST_TMPDIR/bin/lspci"
  PATH=$BATS_TEST_TMPDIR/bin:$PATH collect 'items=["system"]'
  ((status == 0))
  answer '.files[] | select(.file == "system/pci") | [.verdict, .bytes, .remark] | @csv' '"kept",5,"lspci exited with status 3"'
  jq -e 'all(.files[] | select(.verdict == "missing"); .remark | contains("is not on this node"))' <<<"$output"
}

@test "of Ur's jobs it keeps who asked for what and what came of it, but no script, argument or parameter" {
  echo 'erased' >"$JOB/stdout"
  collect 'items=["jobs"]'
  unpack
  answer '.files[0].file' jobs/erase-7/request.json
  grep -q '"ann"' "$LOGS/jobs/erase-7/request.json"
  grep -qx erased "$LOGS/jobs/erase-7/stdout"
  run ! grep -r hunter2 "$LOGS"
}

@test "of what a job's script wrote it keeps files, and waits for no pipe" {
  echo '{"percent":40}' >"$WORK/progress"
  mkfifo "$WORK/trace"
  collect 'items=["jobs"]'
  unpack
  grep -qx '{"percent":40}' "$LOGS/jobs/erase-7/progress"
  [[ ! -e $LOGS/jobs/erase-7/trace ]]
}

@test 'of an earlier agent, which kept all in one folder, it keeps the same' {
  OF_OLD_AGENT=$OWN
  echo '{"percent":40}' >"$JOB/progress"
  collect 'items=["jobs"]'
  unpack
  grep -q '"ann"' "$LOGS/jobs/erase-7/request.json"
  grep -qx '{"percent":40}' "$LOGS/jobs/erase-7/progress"
}

@test 'secrets are masked, in URLs and elsewhere' {
  echo 'ur.amqp=amqp://guest:hunter2@headnode/ur api_key=hunter2 and http://host/a@b' >"$JOB/stdout"
  collect 'items=["jobs"]'
  unpack
  diff "$LOGS/jobs/erase-7/stdout" - <<<'ur.amqp=amqp://guest:***@headnode/ur api_key=*** and http://host/a@b'
}

@test 'the archive keeps to its size: long logs lose their beginning' {
  head -c 12000000 /dev/urandom >"$JOB/stdout"
  printf '\nthe last words\n' >>"$JOB/stdout"
  collect 'items=["jobs"]' max_bytes=50000
  ((status == 0))
  jq -e '.bytes <= 50000 and .bytes > 10000' <<<"$output"
  answer '.files[] | select(.file == "jobs/erase-7/stdout").verdict' shortened
  unpack
  [[ $(tail -n 1 "$LOGS/jobs/erase-7/stdout") == 'the last words' ]]
}

@test 'more than a reply holds is refused before anything is collected' {
  collect max_bytes=4000000
  ((status == 1))
  answer ._error.kind logs/too-big
}

@test 'with a url the archive is put there, and the url appears nowhere' {
  start_server
  collect 'items=["kernel"]' url="$URL/node7[1].tar.zst?key=hunter2"
  ((status == 0))
  answer .http_status 201
  answer .sha256 "$(sha256sum "$WWW"/node7* | cut -d ' ' -f 1)"
  run ! grep hunter2 "$LOG"
  [[ $output != *hunter2* ]]
}

@test 'a server that does not take the archive makes it a failure' {
  start_server
  collect 'items=["kernel"]' url="$URL/status/403/x"
  ((status == 1))
  answer ._error.kind logs/not-sent
  [[ $output == *403* ]]
}

@test 'an unknown item is an error that lists those there are' {
  collect 'items=["kernal"]'
  ((status == 1))
  [[ $output == *'no item kernal'*journal* ]]
}

@test 'jq, which is slow to start, is started twice at most, besides the one of this test' {
  starts_jq_at_most 3 collect 'items=["kernel","system","storage","jobs"]'
  ((status == 0))
}
