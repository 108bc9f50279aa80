# shellcheck shell=bash
# The ssh login of image::rescue, which ends by itself. The ssh server, its sessions and all they start are in a mount
# namespace of their own. There alone is the user known; and when the end has come, whatever is in that namespace is killed,
# and what was mounted in it is mounted no more. Needs the library's ur.sh.

readonly login=/run/ur-rescue host_key=/run/ur-rescue.key user=rescue

keeper_runs() {
  grep -qa "$login/keeper" "/proc/$(cat "$login/keeper.pid" 2>/dev/null || printf none)/cmdline" 2>/dev/null
}

is_listening() { # <port>: succeeds if something on this node does, at whatever address
  local port
  printf -v port %04X "$1"
  awk -v port=":$port" '$4 == "0A" && substr($2, length($2) - 4) == port { found = 1 } END { exit !found }' /proc/net/tcp*
}

write_keys() { # <file>: what is no public key, or has options before it, ends the task
  local type blob rest bytes
  : >"$1"
  while read -r type blob rest; do
    # A file from another system begins with a byte order mark, or ends its lines with a carriage return.
    type=${type#$'\xef\xbb\xbf'} blob=${blob%$'\r'} rest=${rest%$'\r'}
    # The blob begins with the length of its type, in four bytes, and the type.
    bytes=$(base64 --decode 2>/dev/null <<<"$blob" | head -c 300 | tr -cd ' -~' || true)
    [[ $type == @(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp@(256|384|521)|sk-*@openssh.com) && ($bytes == "$type"* || ${bytes:1} == "$type"*) ]] \
      || fail image/refused "this is not a public key as it stands in a .pub file: ${type:0:20} ${blob:0:20}…"
    printf '%s %s %s\n' "$type" "$blob" "$rest" >>"$1"
  done < <(items "${PT_keys:-[]}")
}

make_host_key() { # once in a boot of the node, so that who logs in twice is not frightened
  [[ -e $host_key ]] || dropbearkey -t ed25519 -f "$host_key" >/dev/null
}

fingerprint() { # prints that of the host key
  dropbearkey -y -f "$host_key" | sed -n 's/^Fingerprint: //p'
}

write_user() { # <hash, or nothing>: the node's users and this one, root by another name, in files for the namespace
  local hash=${1:-*}
  if [[ -e /etc/shadow ]]; then
    sed "/^$user:/d" /etc/shadow >"$login/shadow"
    printf '%s:%s:::::::\n' "$user" "$hash" >>"$login/shadow"
    hash=x
  fi
  sed "/^$user:/d" /etc/passwd >"$login/passwd"
  printf '%s:%s:0:0:rescue:%s/home:/bin/sh\n' "$user" "$hash" "$login" >>"$login/passwd"
  # Without shadow the hash is in here.
  [[ $hash != x ]] || chmod 644 "$login/passwd"
}

start_keeper() { # <port> <seconds> <yes if a password will do>: it keeps the login open and ends it, long after this task
  {
    printf 'readonly login=%q host_key=%q port=%q seconds=%q password=%q\n' "$login" "$host_key" "$1" "$2" "$3"
    declare -f serve_login run_server end_login login_processes
    printf 'trap : TERM\nserve_login\nend_login\n'
  } >"$login/keeper"
  # Nothing of the task: neither its environment, in which the hash may be, nor its descriptors.
  env -i PATH="$PATH" setsid bash "$login/keeper" </dev/null >>"$login/log" 2>&1 {ur_result}>&- {lock}>&- &
  printf '%d\n' "$!" >"$login/keeper.pid"
}

serve_login() { # until the end has come, or the server has ended
  local options=(-F -E -m -T 4 -K 60 -p "$port" -P /dev/null -r "$host_key") server sleeper
  [[ $password == yes ]] || options+=(-s)
  # If this process is killed, nothing would end the login: then the server dies with it.
  # shellcheck disable=SC2016 # for the shell in there
  setpriv --pdeathsig KILL unshare --mount --propagation slave bash -euc "$(declare -f run_server)"'; run_server "$@"' - "$login" "${options[@]}" &
  server=$!
  sleep "$seconds" &
  sleeper=$!
  # The time, or a server that could not start, or SIGTERM.
  wait -n || true
  kill -KILL "$server" "$sleeper" 2>/dev/null || true
}

run_server() { # <directory of the login> <argument>…: becomes the server, in a namespace in which the user is known
  readlink /proc/self/ns/mnt >"$1/namespace"
  mount --bind "$1/passwd" /etc/passwd
  [[ ! -e $1/shadow ]] || mount --bind "$1/shadow" /etc/shadow
  shift
  exec dropbear "$@"
}

login_processes() { # prints the processes in the namespace of the login
  local namespace process
  namespace=$(cat "$login/namespace" 2>/dev/null) || return 0
  for process in /proc/[0-9]*; do
    [[ $(readlink "$process/ns/mnt" 2>/dev/null) != "$namespace" ]] || printf '%s\n' "${process#/proc/}"
  done
}

end_login() { # the server is gone: removes the user, and kills what was started in the login
  local signal pids
  rm -rf "${login:?}/home" "$login/shadow" "$login/passwd"
  for signal in HUP TERM KILL KILL KILL KILL; do
    mapfile -t pids < <(login_processes)
    ((${#pids[@]})) || break
    kill -s "$signal" "${pids[@]}" 2>/dev/null || true
    sleep 0.5
  done
  mapfile -t pids < <(login_processes)
  ((${#pids[@]})) || rm -rf "$login"
}

end_now() { # ends a login that is open, or what is left of one whose keeper was killed
  if keeper_runs; then
    kill -TERM "$(<"$login/keeper.pid")"
    wait_until 15 is_over || kill -KILL "$(<"$login/keeper.pid")"
  fi
  [[ ! -e $login ]] || end_login
  [[ ! -e $login ]] || fail image/failed "the login could not be ended: $(login_processes | tr '\n' ' ')"
}

is_over() {
  ! keeper_runs
}
