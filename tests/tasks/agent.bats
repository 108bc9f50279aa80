#!/usr/bin/env bats
# agent::install, agent::list and agent::remove: real processes, tarballs from a real HTTP server. There is no systemd
# here, or it is covered up: agents are kept running by the loop.

# shellcheck disable=SC2016 # programs for other shells

bats_require_minimum_version 1.5.0
load machine
load http

setup() {
  ((EUID == 0)) || skip 'only root can cover up systemd'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  AGENTS=$BATS_TEST_TMPDIR/agents
  start_server
  build 1.0 'exec sleep 1000'
}

teardown() {
  local file pid
  for file in "$AGENTS"/*/loop.pid; do
    [[ ! -e $file ]] || kill -KILL -- "-$(<"$file")" || true
  done
  stop_server
}

build() { # <version> <text of the agent>: makes the tarball of an agent; sets SHA
  local folder=$BATS_TEST_TMPDIR/build/watcher-$1
  mkdir -p "$folder/bin"
  printf '#!/bin/sh\n# %s\n%s\n' "$1" "$2" >"$folder/bin/watcher"
  chmod +x "$folder/bin/watcher"
  # Big enough to be interrupted.
  head -c 300000 /dev/urandom >"$folder/data"
  tar --create --gzip --file="$WWW/watcher-$1.tgz" --directory="$BATS_TEST_TMPDIR/build" "watcher-$1"
  SHA=$(sha256sum "$WWW/watcher-$1.tgz" | cut -d ' ' -f 1)
}

agent() { # <install|list|remove> [<parameter>=<value>…]
  local verb=$1
  shift
  status=0
  output=$(unshare --mount --propagation private sh -c 'mount -t tmpfs none /run && exec "$@"' - \
    env PT__installdir="$SCRIPTS" PT_folder="$AGENTS" "${@/#/PT_}" bash "$SCRIPTS/agent/tasks/$verb.sh" 2>"$LOG" <"${STDIN:-/dev/null}" 3>&-) || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
}

install() { # <version> [<parameter>=<value>…]: with the tarball's hash, from the server unless urls are given
  local version=$1
  shift
  agent install name=watcher version="$version" sha256="$SHA" command=bin/watcher health_timeout=15 \
    urls="[\"$URL/watcher-$version.tgz\"]" "$@"
}

running() { # <version>: succeeds if this version is what runs
  local pid
  pid=$(<"$AGENTS/watcher/main.pid")
  [[ $(readlink "/proc/$pid/cwd") == "$AGENTS/watcher/$1" ]]
}

@test 'an agent is fetched, unpacked to a folder of its version, and runs' {
  install 1.0
  ((status == 0))
  answer '[.verdict, .way, .previous] | @csv' '"installed","loop",'
  answer .pid "$(<"$AGENTS/watcher/main.pid")"
  running 1.0
}

@test 'installing what is installed and healthy changes nothing' {
  install 1.0
  local pid
  pid=$(<"$AGENTS/watcher/main.pid")
  install 1.0
  answer .verdict already
  answer .pid "$pid"
  answer '.attempts | length' 0
}

@test 'an agent that ends is started again' {
  local pid deadline=$((SECONDS + 20))
  install 1.0
  pid=$(<"$AGENTS/watcher/main.pid")
  kill "$pid"
  # Its file is written before the new one is where it belongs.
  until [[ $(<"$AGENTS/watcher/main.pid") != "$pid" ]] && running 1.0; do
    ((SECONDS < deadline))
    sleep 0.1
  done
}

@test 'an upgrade takes the place of the version before, and keeps just that one' {
  install 1.0
  build 1.1 'exec sleep 1000'
  install 1.1
  answer '[.verdict, .previous] | @csv' '"installed","1.0"'
  running 1.1
  build 1.2 'exec sleep 1000'
  install 1.2
  [[ -d $AGENTS/watcher/1.1 && ! -e $AGENTS/watcher/1.0 && ! -e $AGENTS/.fetched ]]
}

@test 'a version that ends again and again gives way to the one before' {
  install 1.0
  build 1.1 'echo "cannot open /dev/frob"; exit 1'
  install 1.1 health_timeout=5
  ((status == 1))
  answer ._error.kind agent/unhealthy
  answer .running 1.0
  [[ $output == *'cannot open /dev/frob'* && ! -e $AGENTS/watcher/1.1 ]]
  running 1.0
}

@test 'a version that runs but says it is not well gives way too' {
  install 1.0
  build 1.1 'exec sleep 1000'
  install 1.1 health='grep -q fit state' health_timeout=5
  ((status == 1))
  answer .running 1.0
  running 1.0
}

@test 'a first version that is not healthy leaves nothing running behind' {
  build 1.0 'exit 1'
  install 1.0 health_timeout=5
  ((status == 1))
  answer .running null
  [[ ! -e $AGENTS/watcher/loop.pid && ! -e $AGENTS/watcher/current ]]
}

@test 'what a healthy agent says of itself is waited for' {
  build 1.0 'sleep 4; touch ready; exec sleep 1000'
  install 1.0 health='test -e ready'
  ((status == 0))
}

@test 'a mirror that has it not, or something else, makes way for the next' {
  head -c 1000 /dev/urandom >"$WWW/other.tgz"
  install 1.0 urls="[\"$URL/status/404/x.tgz\",\"http://127.0.0.1:9/x.tgz\",\"$URL/other.tgz\",\"$URL/watcher-1.0.tgz\"]"
  ((status == 0))
  answer '[.attempts[] | .curl == 0] | .[:3] + .[-1:] | @csv' 'false,false,true,true'
  answer .from "$URL/watcher-1.0.tgz"
}

@test 'an interrupted download goes on where it stopped' {
  install 1.0 urls="[\"$URL/cut/100000/watcher-1.0.tgz\"]"
  ((status == 0))
  answer '.attempts | map(.from) | @csv' 0,100000
  grep -q 'bytes=100000-' "$WWW/requests"
}

@test 'a server that cannot resume is read from the beginning' {
  install 1.0 urls="[\"$URL/cut/100000/watcher-1.0.tgz\",\"$URL/no-range/watcher-1.0.tgz\"]"
  ((status == 0))
  answer '.attempts | map(.bytes) | add' "$(stat --format=%s "$WWW/watcher-1.0.tgz")"
}

@test 'when no mirror has it, every attempt is told, and nothing is changed' {
  install 1.0
  build 1.1 'exec sleep 1000'
  install 1.1 urls="[\"http://ann:hunter2@127.0.0.1:9/x.tgz?key=hunter2\"]"
  ((status == 1))
  answer ._error.kind agent/not-fetched
  answer '.attempts | length' 3
  [[ $output$(<"$LOG") != *hunter2* ]]
  running 1.0
}

@test 'a proxy is used if one is given' {
  install 1.0 urls='["http://mirror.invalid/watcher-1.0.tgz"]' proxy="$URL"
  ((status == 0))
  grep -q '^GET http://mirror.invalid/watcher-1.0.tgz' "$WWW/requests"
}

@test 'a tarball comes in the request itself, on standard input when it is big' {
  STDIN=$BATS_TEST_TMPDIR/stdin
  base64 --wrap=0 "$WWW/watcher-1.0.tgz" | jq -Rc '{content: .}' >"$STDIN"
  install 1.0 urls='[]'
  ((status == 0))
  running 1.0
}

@test 'a tarball with another hash is not unpacked' {
  SHA=${SHA//[0-7]/8}
  install 1.0
  ((status == 1))
  answer ._error.kind agent/not-fetched
  [[ ! -e $AGENTS/watcher/1.0 ]]
}

@test 'with a key, only what it signed is installed' {
  cd "$BATS_TEST_TMPDIR"
  minisign -G -W -p key.pub -s key.sec >/dev/null
  install 1.0 minisign_key="$(tail -n 1 key.pub)"
  answer ._error.kind agent/not-signed
  minisign -S -s key.sec -m "$WWW/watcher-1.0.tgz" -x "$WWW/watcher-1.0.tgz.minisig" >/dev/null
  minisign -G -W -p other.pub -s other.sec >/dev/null
  install 1.0 minisign_key="$(tail -n 1 other.pub)"
  answer ._error.kind agent/not-signed
  [[ ! -e $AGENTS/watcher/1.0 ]]
  install 1.0 minisign_key="$(tail -n 1 key.pub)"
  answer .verdict installed
}

@test 'a key that is demanded of a version that is there is not passed over' {
  cd "$BATS_TEST_TMPDIR"
  minisign -G -W -p key.pub -s key.sec >/dev/null
  minisign -G -W -p other.pub -s other.sec >/dev/null
  install 1.0
  answer .verdict installed
  local pid
  pid=$(<"$AGENTS/watcher/main.pid")
  install 1.0 minisign_key="$(tail -n 1 key.pub)"
  answer ._error.kind agent/not-signed
  running 1.0
  minisign -S -s key.sec -m "$WWW/watcher-1.0.tgz" -x "$WWW/signature" >/dev/null
  install 1.0 minisign_key="$(tail -n 1 other.pub)" signature="$(<"$WWW/signature")"
  answer ._error.kind agent/not-signed
  install 1.0 minisign_key="$(tail -n 1 key.pub)" signature="$(<"$WWW/signature")"
  answer '[.verdict, .pid] | @csv' "\"already\",$pid"
  # Now it is known who signed it.
  install 1.0 minisign_key="$(tail -n 1 key.pub)" urls='[]'
  answer .verdict already
}

@test 'the signature of a tarball at a URL with a query is beside it' {
  cd "$BATS_TEST_TMPDIR"
  minisign -G -W -p key.pub -s key.sec >/dev/null
  minisign -S -s key.sec -m "$WWW/watcher-1.0.tgz" -x "$WWW/watcher-1.0.tgz.minisig" >/dev/null
  install 1.0 minisign_key="$(tail -n 1 key.pub)" urls="[\"$URL/watcher-1.0.tgz?token=x\"]"
  answer .verdict installed
}

@test 'what else is demanded of a version that is there holds too: what tells its health, and its command' {
  install 1.0
  install 1.0 health=true
  answer .verdict already
  jq -e '.health == "true"' "$AGENTS/watcher/1.0/.ur.json"
  install 1.0 command='bin/watcher --verbose'
  answer ._error.kind agent/refused
}

tarball() { # <directory>: makes it version 1.0 of the agent, in place of what build made
  tar --create --gzip --file="$WWW/watcher-1.0.tgz" --directory="$1" .
  SHA=$(sha256sum "$WWW/watcher-1.0.tgz" | cut -d ' ' -f 1)
}

@test 'the one folder of a tarball is left out only if the program is in it' {
  mkdir "$BATS_TEST_TMPDIR/flat"
  cp -r "$BATS_TEST_TMPDIR/build/watcher-1.0/bin" "$BATS_TEST_TMPDIR/flat"
  tar --create --gzip --file="$WWW/watcher-1.0.tgz" --directory="$BATS_TEST_TMPDIR/flat" bin
  SHA=$(sha256sum "$WWW/watcher-1.0.tgz" | cut -d ' ' -f 1)
  install 1.0
  answer .verdict installed
  [[ -x $AGENTS/watcher/1.0/bin/watcher ]]
}

@test 'nothing of a tarball gives others a way to root, or is written through' {
  local from=$BATS_TEST_TMPDIR/build/watcher-1.0
  printf untouched >"$BATS_TEST_TMPDIR/victim"
  ln -s "$BATS_TEST_TMPDIR/victim" "$from/.ur.json"
  cp /bin/true "$from/bin/suid"
  chmod 6755 "$from/bin/suid"
  mkdir "$from/share"
  chmod 3777 "$from/share" "$from/bin/watcher"
  chown -R 12345:12345 "$from/share"
  tarball "$BATS_TEST_TMPDIR/build"
  install 1.0
  answer .verdict installed
  [[ $(<"$BATS_TEST_TMPDIR/victim") == untouched && -f $AGENTS/watcher/1.0/.ur.json && ! -L $AGENTS/watcher/1.0/.ur.json ]]
  diff /dev/null <(find "$AGENTS/watcher/1.0" ! -type l \( -perm /7022 -o ! -user root \))
}

@test 'a tarball with a device or a FIFO, without the program, or cut off is refused, and nothing of it stays' {
  local from=$BATS_TEST_TMPDIR/build/watcher-1.0 whole
  mkfifo "$from/fifo"
  tarball "$BATS_TEST_TMPDIR/build"
  install 1.0
  answer ._error.kind agent/bad-tarball
  [[ ! -e $AGENTS/watcher && ! -e $AGENTS/.fetched ]]
  rm "$from/fifo" "$from/bin/watcher"
  tarball "$BATS_TEST_TMPDIR/build"
  install 1.0
  answer ._error.kind agent/bad-tarball
  [[ ! -e $AGENTS/watcher && ! -e $AGENTS/.fetched ]]
  whole=$(stat --format=%s "$WWW/watcher-1.0.tgz")
  truncate --size $((whole / 2)) "$WWW/watcher-1.0.tgz"
  SHA=$(sha256sum "$WWW/watcher-1.0.tgz" | cut -d ' ' -f 1)
  install 1.0
  answer ._error.kind agent/bad-tarball
  [[ ! -e $AGENTS/watcher && ! -e $AGENTS/.fetched ]]
}

@test 'a version is not named as one of the files beside it' {
  install current
  answer ._error.kind agent/refused
}

@test 'words of the command mean nothing but themselves' {
  build 1.0 'printf "%s\n" "$@" >"$PWD/arguments"; exec sleep 1000'
  install 1.0 command='bin/watcher * $HOME 100%'
  answer .verdict installed
  diff <(printf '%s\n' '*' '$HOME' '100%') "$AGENTS/watcher/1.0/arguments"
}

@test 'a version that is there is never replaced by another content' {
  install 1.0
  build 1.0 'exec sleep 2000'
  install 1.0
  ((status == 1))
  answer ._error.kind agent/refused
  running 1.0
}

@test 'names that would leave the folder are refused' {
  install ../1.0
  answer ._error.kind agent/refused
  install 1.0 command=../../bin/sh
  answer ._error.kind agent/refused
  install 1.0 name=..
  answer ._error.kind agent/refused
}

@test 'with --noop nothing is fetched' {
  install 1.0 _noop=true
  answer .verdict would-install
  [[ ! -e $AGENTS && ! -e $WWW/requests ]]
}

@test 'agents are listed with their versions and how they are' {
  install 1.0
  agent list
  answer '.agents[0] | [.name, .state, .current, .versions[0].version] | @csv' '"watcher","healthy","1.0","1.0"'
}

@test 'a removed agent runs no more and leaves nothing behind, and can be removed again' {
  local pid
  install 1.0
  pid=$(<"$AGENTS/watcher/main.pid")
  agent remove name=watcher
  answer .verdict removed
  [[ ! -e /proc/$pid && ! -e $AGENTS/watcher ]]
  agent remove name=watcher
  answer .verdict absent
}

@test "Ur's own agent is not removed" {
  agent remove name=ur-agent
  answer ._error.kind agent/refused
}

@test 'they start jq a few times' {
  starts_jq_at_most 5 install 1.0
  answer .verdict installed
  starts_jq_at_most 5 install 1.0
  answer .verdict already
  starts_jq_at_most 5 agent list
  answer '.agents | length' 1
  starts_jq_at_most 5 agent remove name=watcher
  answer .verdict removed
}
