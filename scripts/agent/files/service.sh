# shellcheck shell=bash
# The service that keeps an agent running: a unit of systemd; where there is no systemd, a loop of our own; and for Ur's own
# agent, where it is neither, the init that starts it again when it ends (respawn.sh). Each way has the verbs start (what
# "current" points to, anew), stop and pid. Needs the library's ur.sh and folder.sh; $name is the agent, $home its folder.

readonly units=/etc/systemd/system

way_of_running() { # prints systemd, loop or respawn
  if [[ -d /run/systemd/system ]]; then
    printf systemd
  elif [[ $name == ur-agent && ! -e $home/supervise ]] && pgrep -x ur-agent >/dev/null; then
    printf respawn
  else
    printf loop
  fi
}

command_words() { # sets words to the program of the current version and its arguments: split at blanks, and nothing else in them has a meaning
  local command
  current_field command command
  read -rd '' -a words <<<"$command" || true
}

exec_start() { # prints them as the command line of a unit
  local words word line
  command_words
  # A program's path may not have variables in it.
  line=$(unit_word "$home/current/${words[0]}")
  for word in "${words[@]:1}"; do line+=" $(unit_word "${word//\$/\$\$}")"; done
  printf '%s' "$line"
}

unit_word() { # <text>: prints it as one word of systemd's
  local word=${1//\\/\\\\}
  word=${word//\"/\\\"}
  word=${word//%/%%}
  if [[ $word == *[!A-Za-z0-9_./=:,@%+-]* ]]; then printf '"%s"' "$word"; else printf '%s' "$word"; fi
}

systemd_start() {
  local unit=$name.service
  if grep -qs '^# By agent::install' "$units/$unit" || ! systemctl cat "$unit" >/dev/null 2>&1; then
    write_unit >"$units/$unit"
  else
    # A unit that is not ours, such as that of Ur's own agent, is left as it is but for what it starts.
    mkdir -p "$units/$unit.d"
    printf '# By agent::install\n[Service]\nExecStart=\nExecStart=%s\n' "$(exec_start)" >"$units/$unit.d/ur-version.conf"
  fi
  systemctl daemon-reload
  systemctl enable --quiet "$unit"
  systemctl restart "$unit"
}

write_unit() {
  cat <<UNIT
# By agent::install
[Unit]
Description=$name, an agent that Ur has loaded
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStart=$(exec_start)
WorkingDirectory=${home//%/%%}/current
EnvironmentFile=-/etc/ur/$name.env
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
UNIT
}

systemd_stop() { # and forget it; what a unit that is not ours started before is started again
  local unit=$name.service
  if [[ -e $units/$unit.d/ur-version.conf ]]; then
    rm "$units/$unit.d/ur-version.conf"
    systemctl daemon-reload
    systemctl restart "$unit"
  elif grep -qs '^# By agent::install' "$units/$unit"; then
    systemctl disable --now --quiet "$unit"
    rm "$units/$unit"
    systemctl daemon-reload
  fi
}

systemd_pid() {
  systemctl show --property=MainPID --value "$name.service" | grep -v '^0$'
}

loop_start() {
  local words
  loop_stop
  command_words
  cat >"$home/supervise.new" <<'LOOP'
#!/bin/sh
# By agent::install: starts the agent of this folder again whenever it ends.
cd "${0%/*}" || exit 1
echo $$ >loop.pid
trap 'kill "$agent" 2>/dev/null; wait "$agent"; rm -f loop.pid main.pid; exit 0' TERM
set -a
[ ! -r "/etc/ur/${PWD##*/}.env" ] || . "/etc/ur/${PWD##*/}.env"
set +a
while :; do
  # A ramdisk must not fill up with what an agent says in a year.
  [ "$(wc -c <log 2>/dev/null || echo 0)" -lt 1048576 ] || mv log log.1
  (cd current && exec "./$@") >>log 2>&1 &
  agent=$!
  echo "$agent" >main.pid
  wait "$agent"
  echo "ended with status $?; starting it again" >>log
  sleep 1 &
  wait $!
done
LOOP
  chmod 755 "$home/supervise.new"
  mv "$home/supervise.new" "$home/supervise"
  # Nothing of this job is to stick to it: neither its parameters, nor its descriptors, nor the lock.
  env -i PATH="$PATH" HOME="${HOME:-/root}" LANG=C.UTF-8 \
    setsid "$home/supervise" "${words[@]}" </dev/null >/dev/null 2>&1 {ur_result}>&- {lock}>&- &
  wait_until 10 loop_pid || true
}

loop_stop() {
  local loop
  loop=$(loop_leader) || return 0
  kill -TERM "$loop"
  # The loop leads a process group of its own: what its agent has started is in it.
  wait_until 10 process_ended "$loop" || true
  kill -KILL -- "-$loop" 2>/dev/null || true
  rm -f "$home/loop.pid" "$home/main.pid"
}

loop_leader() { # prints the pid of the loop, if it is ours and alive
  local pid
  pid=$(cat "$home/loop.pid" 2>/dev/null) || return 1
  [[ -n $pid ]] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$home/supervise" && printf '%s\n' "$pid"
}

loop_pid() {
  local loop pid
  loop=$(loop_leader) || return 1
  pid=$(cat "$home/main.pid" 2>/dev/null) || return 1
  # Only a child of the loop: the number may have come to another process.
  [[ $(ps -o ppid= -p "$pid" | tr -d ' ') == "$loop" ]] && printf '%s\n' "$pid"
}

is_healthy() { # succeeds if the agent runs, says so, and is still the same process two seconds later
  local pid health
  pid=$("${way}_pid") || return 1
  current_field health health
  if [[ -n $health ]]; then
    (cd "$home/current" && limited 30 sh -c "$health") || return 1
  elif [[ $name == ur-agent ]]; then
    # An agent that lives and does not reach the broker is a node that is lost.
    is_connected "$pid" || return 1
  fi
  sleep 2
  [[ $("${way}_pid") == "$pid" ]]
}

is_connected() { # <pid>: succeeds if it has an established TCP connection
  local sockets
  sockets=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n' | paste -sd '|')
  [[ -n $sockets ]] && awk '$4 == "01" { print $10 }' "/proc/$1/net/tcp" "/proc/$1/net/tcp6" 2>/dev/null | grep -qxE "$sockets"
}

process_ended() { # <pid>
  [[ ! -e /proc/$1 ]]
}
