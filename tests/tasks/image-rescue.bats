#!/usr/bin/env bats
# image::rescue: a real dropbear and a real ssh client, on the loopback of a network namespace. /run is the test's own.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031
# shellcheck disable=SC2016 # programs for other shells

bats_require_minimum_version 1.5.0
load machine

setup_file() {
  ssh-keygen -q -t ed25519 -N '' -f "$BATS_FILE_TMPDIR/key"
  ssh-keygen -q -t ecdsa -N '' -f "$BATS_FILE_TMPDIR/other"
}

setup() {
  ((EUID == 0)) || skip 'only root can make namespaces'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  KEY=$BATS_FILE_TMPDIR/key
  DRIVES=none # no disk is in the game
  unshare --net --mount --propagation private sh -c 'mount -t tmpfs none /run && ip link set lo up && exec sleep infinity' 3>&- &
  MACHINE=$!
  until [[ $(<"/proc/$MACHINE/comm") == sleep ]]; do kill -0 "$MACHINE"; done
  BEFORE=$(sha256sum /etc/passwd /etc/shadow)
}

teardown() {
  task image::rescue action=end
  kill "$MACHINE"
  # The node's own files know nothing of it.
  diff <(printf '%s\n' "$BEFORE") <(sha256sum /etc/passwd /etc/shadow)
}

on_machine() { # <program> [<argument>…]: a network of its own it has too
  nsenter --target "$MACHINE" --mount --net -- "$@" 3>&-
}

rescue() { # [<parameter>=<value>…]: on port 2222, for whoever has KEY
  task image::rescue port=2222 "keys=[\"$(<"$KEY.pub")\"]" "$@"
}

enter() { # <command>: by key
  on_machine timeout 30 ssh -p 2222 -i "$KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile="$BATS_TEST_TMPDIR/known" -o LogLevel=ERROR rescue@127.0.0.1 "$1" </dev/null
}

enter_by_password() { # <password> <command>
  on_machine timeout 30 sshpass -p "$1" ssh -p 2222 -o PubkeyAuthentication=no -o StrictHostKeyChecking=no -o NumberOfPasswordPrompts=1 \
    -o UserKnownHostsFile="$BATS_TEST_TMPDIR/known" -o LogLevel=ERROR rescue@127.0.0.1 "$2" </dev/null
}

is_closed() {
  ! on_machine bash -c ': </dev/tcp/127.0.0.1/2222' 2>/dev/null
}

nothing_left() {
  on_machine test ! -e /run/ur-rescue
}

@test 'who has the key is root, and finds the host key that the result tells' {
  rescue
  ((status == 0))
  answer '[.verdict, .user, .port, (.methods | join(" "))] | @csv' '"open","rescue",2222,"key"'
  [[ $(enter 'id -u') == 0 ]]
  [[ $(ssh-keygen -l -f "$BATS_TEST_TMPDIR/known") == *" $(jq -r .fingerprint <<<"$output") "* ]]
}

@test 'who has another key, or only a password, stays outside' {
  rescue
  KEY=$BATS_FILE_TMPDIR/other run ! enter true
  run ! enter_by_password '' true
}

@test 'the password whose hash was given opens, another does not, and a hash is no password' {
  local hash
  for hash in "$(openssl passwd -6 -salt saltsalt open-sesame)" "$(openssl passwd -5 -salt saltsalt open-sesame)"; do
    task image::rescue port=2222 "password_hash=$hash"
    ((status == 0))
    answer '.methods | join(" ")' password
    [[ $(enter_by_password open-sesame 'id -u') == 0 ]]
    run ! enter_by_password sesame true
    run ! enter_by_password "$hash" true
  done
}

@test 'at the end of its time the login ends: the server, the session, and what was left running in it' {
  rescue seconds=5
  [[ $(jq -r .until <<<"$output") == 20*Z ]]
  enter 'setsid sleep 4242 >/dev/null 2>&1 & mount -t tmpfs mine /mnt'
  # A session that is open when the time comes.
  (enter 'echo in; sleep 4243' >"$BATS_TEST_TMPDIR/session" || true) 3>&- &
  local session=$!
  eventually grep -q in "$BATS_TEST_TMPDIR/session"
  on_machine pgrep -f 'sleep 4242'
  eventually is_closed
  eventually nothing_left
  run ! pgrep -f 'sleep 424[23]'
  # Its client is told, too.
  wait "$session"
}

@test 'a login ends before its time if that is wanted, and ending it again does no harm' {
  rescue
  enter 'setsid sleep 4244 >/dev/null 2>&1 &'
  task image::rescue action=end
  ((status == 0))
  answer .verdict ended
  is_closed
  nothing_left
  run ! pgrep -f 'sleep 4244'
  task image::rescue action=end
  ((status == 0))
  answer .verdict none
}

@test 'a second run replaces the first: other keys, another time, the same host key' {
  rescue
  local fingerprint
  fingerprint=$(jq -r .fingerprint <<<"$output")
  enter 'setsid sleep 4245 >/dev/null 2>&1 &'
  local first=$KEY
  KEY=$BATS_FILE_TMPDIR/other
  rescue
  ((status == 0))
  answer .fingerprint "$fingerprint"
  enter true
  KEY=$first run ! enter true
  run ! pgrep -f 'sleep 4245'
}

@test 'if what should end it is killed, nobody comes in any more, and the next run clears up' {
  rescue
  on_machine sh -c 'kill -KILL "$(cat /run/ur-rescue/keeper.pid)"'
  eventually is_closed
  task image::rescue action=end
  ((status == 0))
  answer .verdict ended
  nothing_left
}

@test 'what is mounted in the login is seen there alone' {
  rescue
  enter 'mount -t tmpfs mine /mnt && touch /mnt/here && test -e /mnt/here'
  run ! on_machine test -e /mnt/here
}

@test 'what stays behind holds neither the lock of the task nor its parameters' {
  rescue
  eventually enter true
  run ! on_machine sh -c 'ls -l /proc/"$(cat /run/ur-rescue/keeper.pid)"/fd | grep lock'
  run ! on_machine sh -c 'tr "\0" "\n" <"/proc/$(cat /run/ur-rescue/keeper.pid)/environ" | grep PT_'
}

@test 'a plain password, a hash that is no hash, a private key, options before a key, and no way in at all are refused' {
  local bad
  for bad in password_hash=secret 'password_hash=$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/' 'password_hash=$6$saltsalt$tooshort'; do
    task image::rescue port=2222 "$bad"
    answer ._error.kind image/refused
    [[ $output != *secret* ]]
  done
  for bad in '-----BEGIN OPENSSH PRIVATE KEY-----' "command=\\\"sh\\\" $(<"$KEY.pub")" 'ssh-ed25519 AAAA' "ssh-rsa $(cut -d ' ' -f 2 "$KEY.pub")"; do
    task image::rescue port=2222 "keys=[\"$bad\"]"
    answer ._error.kind image/refused
  done
  task image::rescue port=2222
  [[ $(jq -r ._error.msg <<<"$output") == *'no way in'* ]]
  nothing_left
  is_closed
}

@test 'a port on which something listens already is refused' {
  on_machine python3 -c 'import socket, time
s = socket.create_server(("127.0.0.1", 2222)); time.sleep(1000)' 3>&- &
  local listener=$!
  eventually on_machine bash -c ': </dev/tcp/127.0.0.1/2222' 2>/dev/null
  rescue
  pkill -P "$listener" 2>/dev/null || kill "$listener"
  ((status != 0))
  [[ $(jq -r ._error.msg <<<"$output") == *'port 2222'*'give another port'* ]]
  nothing_left
}

@test 'with --noop nothing is opened' {
  rescue _noop=true
  ((status == 0))
  answer .verdict would-open
  is_closed
  nothing_left
}

@test 'it starts jq a few times' {
  starts_jq_at_most 3 rescue _noop=true
  answer .verdict would-open
  starts_jq_at_most 3 rescue
  answer .verdict open
}
