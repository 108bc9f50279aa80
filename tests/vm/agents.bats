#!/usr/bin/env bats
# agent::install on a machine that runs from the ramdisk: a second agent beside ours, and another version of ours. What
# is fetched comes from this host by HTTP.

load vm
load tasks
load ../scripts/http

setup_file() {
  load_ramdisk full
  MEMORY=1G boot 1
  await 300 node 1 true
  OURS=$(ur-agent --version | awk '{ print $NF }')
  export OURS
}

setup() { start_server; }

teardown() {
  tell_consoles
  stop_server
  [[ -z ${SNOOP-} ]] || kill "$SNOOP"
}

teardown_file() { power_off_all; }

pack_and_install() { # <name> <version> <folder of its files> [<argument>…]: packs the folder, serves it and installs it
  tar --create --gzip --file "$WWW/$1-$2.tgz" --directory "$3" .
  run_task agent::install name="$1" version="$2" sha256="$(sha256sum "$WWW/$1-$2.tgz" | cut -d ' ' -f 1)" \
    urls="[\"${URL/127.0.0.1/10.0.2.2}/$1-$2.tgz\"]" "${@:4}"
}

# A small HTTP service that says its version; whoever installs it asks for that.
install_web() { # <version> <what it says>
  local folder=$BATS_TEST_TMPDIR/web-$1
  mkdir -p "$folder/www"
  # shellcheck disable=SC2016 # for the shell on the node
  printf '#!/bin/sh\necho "this is $0 of %s"\nexec busybox httpd -f -p 8099 -h www\n' "$1" >"$folder/web"
  chmod +x "$folder/web"
  printf '%s\n' "$2" >"$folder/www/version"
  pack_and_install web "$1" "$folder" health="curl -sf http://127.0.0.1:8099/version | grep -qx 'web $1'" health_timeout=15
}

install_ours() { # <version> <file that is to be ur-agent> [<argument>…]
  mkdir "$BATS_TEST_TMPDIR/ours-$1"
  install "$2" "$BATS_TEST_TMPDIR/ours-$1/ur-agent"
  pack_and_install ur-agent "$1" "$BATS_TEST_TMPDIR/ours-$1" command='ur-agent run' "${@:3}"
}

web_says() { # <text>
  [[ $(on_node 'curl -sf http://127.0.0.1:8099/version') == "$1" ]]
}

@test 'a second agent is fetched and started, and serves' {
  install_web 1.0 'web 1.0'
  ((status == 0))
  answer '[.verdict, .way] | @csv' '"installed","loop"'
  web_says 'web 1.0'
}

@test 'a new version that runs but does not serve what it should gives way to the one before' {
  install_web 2.0 'an error'
  ((status == 3))
  answer '[._error.kind, .verdict, .running] | @csv' '"agent/unhealthy","failed","1.0"'
  answer '.log | test("this is .*web of 2[.]0")' true
  web_says 'web 1.0'
}

@test 'a new version that serves takes its place' {
  install_web 2.1 'web 2.1'
  answer '[.verdict, .previous] | @csv' '"installed","1.0"'
  web_says 'web 2.1'
}

snoop() { # collects the replies of the node in $BATS_TEST_TMPDIR/replies; sets SNOOP
  ur snoop -J "ur.execute-reply.$(uuid_of 1).*" >"$BATS_TEST_TMPDIR/replies" 3>&- &
  SNOOP=$!
  await 30 is_heard
}

is_heard() {
  ur exec -q -n "$(uuid_of 1)" true && [[ -s $BATS_TEST_TMPDIR/replies ]]
}

replies_to() { # <request>: prints them, one a line
  jq -c "select(.key | endswith(\".$1\")).body" "$BATS_TEST_TMPDIR/replies"
}

version_on_node() { # <version>: whether that is what the agent says of itself
  node 1 ".\"Ur Agent\".version == \"$1\""
}

@test 'our own agent is replaced while a job runs; that one, and the one that did it, are answered whole and once' {
  local newer=${OURS//[0-9]/9}
  snoop
  # The same program, but for the version that is written in it: as many bytes, so that all else stays in its place.
  LC_ALL=C sed "s/${OURS//./\\.}/$newer/g" "$UR_BIN_DIR/ur-agent" >"$BATS_TEST_TMPDIR/ur-agent"
  # It says something all the while, and ends when it is told to.
  # shellcheck disable=SC2016 # for the shell on the node
  ur exec -q -n "$(uuid_of 1)" -J --request long --timeout 600 \
    'i=0; until [ -e /tmp/enough ]; do i=$((i + 1)); echo "line $i"; sleep 0.5; done; echo end' >"$BATS_TEST_TMPDIR/long" 3>&- &
  long=$!
  await 30 on_node 'test -e /run/ur/jobs/long/pid && echo'
  install_ours "$newer" "$BATS_TEST_TMPDIR/ur-agent" --request upgrade
  ((status == 0))
  answer '[.verdict, .way, .previous] | @csv' "\"installed\",\"respawn\",\"before-$OURS\""
  version_on_node "$newer"
  on_node 'touch /tmp/enough'
  wait "$long"
  jq -j .result.stdout "$BATS_TEST_TMPDIR/long" >"$BATS_TEST_TMPDIR/said"
  diff "$BATS_TEST_TMPDIR/said" <(seq -f 'line %.0f' $(($(wc -l <"$BATS_TEST_TMPDIR/said") - 1)) && echo end)
  # The new agent has answered for what was started by the old one.
  [[ $(replies_to long | jq -r '"\(.exit_status) \(.agent)"') == "0 $newer" ]]
  [[ $(replies_to upgrade | jq -r '"\(.exit_status) \(.agent)"') == "0 $newer" ]]
}

@test 'one of ours that does not reach the broker gives way to the one before, which answers' {
  local running=${OURS//[0-9]/9}
  snoop
  # Any program will do that runs on under that name, and is no agent.
  printf '#!/bin/sh\nwhile :; do sleep 1; done\n' >"$BATS_TEST_TMPDIR/ur-agent"
  install_ours 0.0.1 "$BATS_TEST_TMPDIR/ur-agent" --request lost health_timeout=15
  ((status == 3))
  answer '[._error.kind, .running] | @csv' "\"agent/unhealthy\",\"$running\""
  version_on_node "$running"
  [[ $(replies_to lost | wc -l) == 1 ]]
  # Meanwhile nothing has happened to the other one.
  web_says 'web 2.1'
}
