# shellcheck shell=bash
# Upgrade of ur-agent where init starts it again whenever it ends: the file at its path is replaced, and it is asked to
# end. Its jobs, this one among them, have supervisors of their own and stay. Needs the library's ur.sh; $home is its folder.

respawn_pid() { # prints the pid of the agent itself, not of the supervisors of its jobs; of several, none
  local pid found=()
  for pid in $(pgrep -x ur-agent); do
    [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *' supervise '* ]] || found+=("$pid")
  done
  ((${#found[@]} == 1)) && printf '%s\n' "${found[0]}"
}

keep_original() { # keeps the agent that runs as the version to go back to, unless it was installed by this task
  local pid file version
  pid=$(respawn_pid) || fail agent/refused 'it cannot be told which process is the agent: there must be one, and one only'
  file=$(agent_file "$pid")
  [[ ! -e $home/file ]] || return 0
  [[ ${file##*/} == ur-agent ]] || fail agent/refused "the agent that runs is $file: its file cannot be replaced"
  version=before-$("/proc/$pid/exe" --version | awk '{ print $NF }')
  mkdir -p "$home/$version"
  cp "/proc/$pid/exe" "$home/$version/ur-agent"
  write_version "$home/$version" "$version" '' 'what was here' 'ur-agent run' ''
  ln -sfn "$version" "$home/current"
  printf '%s\n' "$file" >"$home/file"
}

agent_file() { # <pid>: prints the path by which it was started
  readlink "/proc/$1/exe" | sed 's/ (deleted)$//'
}

respawn_start() {
  local old file program
  file=$(<"$home/file")
  current_field program command
  cp "$home/current/${program%% *}" "$file.new"
  chmod 755 "$file.new"
  mv "$file.new" "$file"
  old=$(respawn_pid) || return 0
  mapfile -d '' -t arguments <"/proc/$old/cmdline"
  mapfile -d '' -t environment <"/proc/$old/environ"
  kill -TERM "$old"
  wait_until 30 process_ended "$old" || kill -KILL "$old"
  wait_until 15 respawn_pid >/dev/null && return
  # Without an agent the node is lost to the headnode. One that was started without a command would only print its help.
  log 'init does not start ur-agent again: starting it here, as it was started before'
  ((${#arguments[@]} > 1)) || arguments+=(run)
  env -i "${environment[@]}" setsid "$file" "${arguments[@]:1}" </dev/null >/dev/null 2>&1 {ur_result}>&- {lock}>&- &
}
