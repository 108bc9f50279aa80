#!/usr/bin/env bats
# file::put and file::get, step by step, in directories of this machine.

bats_require_minimum_version 1.5.0
load http

setup() {
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  DIR=$BATS_TEST_TMPDIR/node
  mkdir "$DIR"
  head --bytes=300000 /dev/urandom >"$BATS_TEST_TMPDIR/own"
}

teardown() {
  stop_server
}

task() { # <task> <parameter>=<value>…: sets $status and $output; $STDIN is its standard input
  local name=$1
  shift
  status=0
  output=$(env PT__installdir="$SCRIPTS" "${@/#/PT_}" bash "$SCRIPTS/file/tasks/$name.sh" 2>"$LOG" <<<"${STDIN-}") || status=$?
  cat "$LOG"
  printf '%.300s\n' "$output"
}

answer() { # <filter> <text>
  [[ $(jq -r "$1" <<<"$output") == "$2" ]]
}

put() { # <step> <dest> <source> <parameter>=<value>…: a file, or a folder as an archive
  local step=$1 dest=$2 file=$3 name=${3##*/} more=(mode=751 mtime=1000000000 room=0)
  shift 3
  if [[ -d $file ]]; then
    tar --create --file="$BATS_TEST_TMPDIR/archive" --directory="$(dirname "$file")" "$name"
    file=$BATS_TEST_TMPDIR/archive name=$name/ more=(room=10000)
  fi
  task put "step=$step" "dest=$dest" "names=$name" "bytes=$(stat --format=%s "$file")" "sha256=$(sha256sum <"$file" | cut -d ' ' -f 1)" \
    offset=0 "${more[@]}" "$@"
}

put_all() { # <dest> <source>: begin, the one piece, finish
  put begin "$@"
  ((status == 0)) || return 0
  local file=$2
  [[ ! -d $2 ]] || file=$BATS_TEST_TMPDIR/archive
  # Not before a command: a variable there is exported, and too long for that.
  STDIN="{\"_task\":\"file::put\",\"data\":\"$(base64 --wrap=0 "$file")\",\"dest\":\"\\\"data\\\":\\\"x\"}"
  put piece "$@"
  put finish "$@"
}

left() { # succeeds if nothing hidden was left in the directory
  [[ -z $(find "$DIR" -name '.ur-*') ]]
}

@test 'a file arrives in pieces with its bytes, mode and time, and nothing is left beside it' {
  local own=$BATS_TEST_TMPDIR/own
  put begin "$DIR/new" "$own"
  answer .have 0
  put piece "$DIR/new" "$own" "data=$(head --bytes=70000 "$own" | base64 --wrap=0)"
  answer .have 70000
  [[ ! -e $DIR/new ]]
  # Sent a second time, and begun again after a break: what is there counts.
  put piece "$DIR/new" "$own" "data=$(head --bytes=70000 "$own" | base64 --wrap=0)"
  put begin "$DIR/new" "$own"
  answer .have 70000
  STDIN="{\"data\":\"$(tail --bytes=+70001 "$own" | base64 --wrap=0)\"}"
  put piece "$DIR/new" "$own" offset=70000
  put finish "$DIR/new" "$own"
  answer .path "$DIR/new"
  cmp "$own" "$DIR/new"
  [[ $(stat --format='%a %Y' "$DIR/new") == '751 1000000000' ]]
  left
}

@test 'a directory gets the file under its own name, and a file there is replaced' {
  printf old >"$DIR/own"
  put_all "$DIR" "$BATS_TEST_TMPDIR/own"
  answer .path "$DIR/own"
  cmp "$BATS_TEST_TMPDIR/own" "$DIR/own"
  put begin "$DIR/none/" "$BATS_TEST_TMPDIR/own"
  answer ._error.kind file/no-directory
  put begin "$DIR/none/x" "$BATS_TEST_TMPDIR/own"
  answer ._error.kind file/no-directory
  mkdir "$DIR/sub" "$DIR/sub/own"
  put begin "$DIR/sub" "$BATS_TEST_TMPDIR/own"
  answer ._error.kind file/in-the-way
  put begin sub "$BATS_TEST_TMPDIR/own"
  answer ._error.kind file/path
  left
}

@test 'of two that put the same to one place at a time, neither takes away what the other has' {
  local own=$BATS_TEST_TMPDIR/own
  put begin "$DIR/x" "$own"
  put piece "$DIR/x" "$own" "data=$(head --bytes=60000 "$own" | base64 --wrap=0)"
  put begin "$DIR/../node/x" "$own"
  answer .have 60000
  put piece "$DIR/x" "$own" "data=$(head --bytes=50000 "$own" | base64 --wrap=0)"
  answer .have 50000
  STDIN="{\"data\":\"$(tail --bytes=+60001 "$own" | base64 --wrap=0)\"}"
  put piece "$DIR/x" "$own" offset=60000
  put finish "$DIR/x" "$own"
  cmp "$own" "$DIR/x"
  left
}

@test 'what arrived otherwise than it was sent takes no place, and the next try begins anew' {
  printf old >"$DIR/x"
  put begin "$DIR/x" "$BATS_TEST_TMPDIR/own"
  put piece "$DIR/x" "$BATS_TEST_TMPDIR/own" "data=$(printf wrong | base64)"
  put finish "$DIR/x" "$BATS_TEST_TMPDIR/own"
  ((status == 1))
  answer ._error.kind file/digest
  [[ $(<"$DIR/x") == old ]]
  left
}

@test 'what a reboot left of another content is removed, and a gap is refused' {
  put begin "$DIR/x" "$BATS_TEST_TMPDIR/own"
  put piece "$DIR/x" "$BATS_TEST_TMPDIR/own" "data=$(head --bytes=9000 "$BATS_TEST_TMPDIR/own" | base64 --wrap=0)"
  put piece "$DIR/x" "$BATS_TEST_TMPDIR/own" "data=eA==" offset=9001
  answer ._error.kind file/gap
  printf other >"$BATS_TEST_TMPDIR/own"
  put piece "$DIR/x" "$BATS_TEST_TMPDIR/own" 'data=eA=='
  answer ._error.kind file/other
  put_all "$DIR/x" "$BATS_TEST_TMPDIR/own"
  [[ $(<"$DIR/x") == other ]]
  left
}

@test 'a folder comes whole, and into one that is there file by file' {
  local conf=$BATS_TEST_TMPDIR/conf
  mkdir -p "$conf/a/b" "$conf/c"
  printf 1 >"$conf/a/b/one"
  printf 2 >"$conf/two"
  chmod 4711 "$conf/two"
  ln -s ../two "$conf/a/link"
  touch --date=@1000000001 "$conf/two" "$conf/a"
  put_all "$DIR/conf" "$conf"
  diff -r --no-dereference "$conf" "$DIR/conf"
  [[ $(stat --format='%a %Y' "$DIR/conf/two" "$DIR/conf/a") == $'4711 1000000001\n755 1000000001' ]]
  printf kept >"$DIR/conf/kept"
  printf 3 >"$conf/a/b/one"
  printf 4 >"$conf/c/new"
  put_all "$DIR/conf" "$conf"
  [[ $(cat "$DIR/conf/a/b/one" "$DIR/conf/c/new" "$DIR/conf/kept") == 34kept ]]
  put_all "$DIR/" "$conf"
  ((status == 0))
  mkdir "$DIR/other"
  put begin "$DIR/other" "$conf"
  answer ._error.kind file/directory
  left
}

@test 'a link in the way is not followed, nor one that any user may have made on the way' {
  local own=$BATS_TEST_TMPDIR/own
  mkdir "$DIR/real" "$DIR/open"
  chmod 1777 "$DIR/open"
  printf safe >"$DIR/real/x"
  ln -s "$DIR/real/x" "$DIR/link"
  ln -s ../real "$DIR/open/way"
  ln -s real "$DIR/way"
  put begin "$DIR/link" "$own"
  answer ._error.kind file/symlink
  put begin "$DIR/open/way/x" "$own"
  answer ._error.kind file/symlink
  put begin "$DIR/open/way" "$own"
  answer ._error.kind file/symlink
  [[ $(<"$DIR/real/x") == safe ]]
  put_all "$DIR/way/../way/x" "$own"
  answer .path "$DIR/real/x"
  put_all "$DIR/open" "$own"
  ((status == 0))
  chmod 777 "$DIR/open"
  put begin "$DIR/open/y" "$own"
  answer ._error.kind file/unsafe
  # In a folder that is merged with one that is there.
  mkdir "$BATS_TEST_TMPDIR/real" "$BATS_TEST_TMPDIR/real/sub"
  ln -s / "$DIR/real/sub"
  put_all "$DIR/real" "$BATS_TEST_TMPDIR/real"
  answer ._error.kind file/symlink
}

@test 'a folder for the pieces that another user has planted is not used' {
  ((EUID == 0)) || skip 'only root can give a folder away'
  put begin "$DIR/x" "$BATS_TEST_TMPDIR/own"
  local staging
  staging=$(find "$DIR" -name '.ur-put-*')
  chown 65534 "$staging"
  put begin "$DIR/x" "$BATS_TEST_TMPDIR/own"
  answer ._error.kind file/foreign
  rmdir "$staging" 2>/dev/null || rm -r "$staging"
  ln -s "$BATS_TEST_TMPDIR" "$staging"
  put begin "$DIR/x" "$BATS_TEST_TMPDIR/own"
  ((status == 1))
  [[ ! -e $BATS_TEST_TMPDIR/blob ]]
}

@test 'what has no room is refused before a byte is sent' {
  put begin "$DIR/x" "$BATS_TEST_TMPDIR/own" bytes=900000000000000
  answer ._error.kind file/no-room
  left
}

@test 'all at once from a web server' {
  start_server
  cp "$BATS_TEST_TMPDIR/own" "$WWW/own"
  put fetch "$DIR/x" "$BATS_TEST_TMPDIR/own" "url=$URL/own"
  answer .path "$DIR/x"
  cmp "$BATS_TEST_TMPDIR/own" "$DIR/x"
  put fetch "$DIR/y" "$BATS_TEST_TMPDIR/own" "url=$URL/none"
  answer ._error.kind file/not-fetched
  [[ ! -e $DIR/y ]]
  # More than was said.
  head --bytes=9000000 /dev/zero >"$WWW/more"
  put fetch "$DIR/y" "$BATS_TEST_TMPDIR/own" "url=$URL/more"
  answer ._error.kind file/not-fetched
  [[ ! -e $DIR/y ]]
  (($(stat --format=%s "$DIR"/.ur-put-*/blob) < 400000))
}

get() { # <step> <path> <parameter>=<value>…
  task get "step=$1" "path=$2" id=0123abcd-"$BASHPID" limit=400000 offset=0 length=200000 "${@:3}"
}

@test 'a file is given in pieces of one copy, however it is written to meanwhile' {
  local own=$BATS_TEST_TMPDIR/own id=id=abcdef01-$BASHPID
  chmod 640 "$own"
  get begin "$own" "$id"
  answer '[.kind, .bytes, .sha256, .mode] | join(" ")' "file 300000 $(sha256sum <"$own" | cut -d ' ' -f 1) 640"
  cp "$own" "$BATS_TEST_TMPDIR/before"
  printf more >>"$own"
  get piece "$own" "$id"
  jq -r .data <<<"$output" | base64 --decode >"$BATS_TEST_TMPDIR/came"
  get begin "$own" "$id"
  answer .bytes 300000
  get piece "$own" "$id" offset=200000
  jq -r .data <<<"$output" | base64 --decode >>"$BATS_TEST_TMPDIR/came"
  cmp "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/came"
  get finish "$own" "$id"
  [[ -z $(find /var/tmp /tmp /run -maxdepth 1 -name "ur-get-${id#*=}") ]]
  get piece "$own" "$id"
  answer ._error.kind file/not-begun
}

@test 'a folder is given as an archive, a pseudo file as what it holds, and what is too big not at all' {
  mkdir "$DIR/logs"
  cp "$BATS_TEST_TMPDIR/own" "$DIR/logs/messages"
  get begin "$DIR/logs/"
  answer .kind folder
  get piece "$DIR/logs/" length=400000
  jq -r .data <<<"$output" | base64 --decode | tar --list | diff - <(printf 'logs/\nlogs/messages\n')
  get finish "$DIR/logs/"
  get begin /proc/cpuinfo id=00000001-"$BASHPID"
  (($(jq .bytes <<<"$output") > 100))
  get finish /proc/cpuinfo id=00000001-"$BASHPID"
  get begin "$DIR/logs" limit=100000
  answer ._error.kind file/too-big
  get begin /dev/zero
  answer ._error.kind file/kind
  get begin "$DIR/none"
  answer ._error.kind file/not-found
  [[ -z $(find /var/tmp /tmp /run -maxdepth 1 -name "ur-get-*-$BASHPID*") ]]
}
