# shellcheck shell=bash
# The folders of agents: one for each, in it one for each version, and the link "current". Beside what was unpacked, a
# version has .ur.json, which says what it is. Needs the library's ur.sh.

declare -A version_field=() # what .ur.json says: by "<folder of the version> <sha256, from, command, health or minisign_key>"

is_name() { # <text>: succeeds if it can be the name of a folder and nothing else
  [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._+-]*$ ]]
}

is_taken() { # <name>: succeeds if a file of ours has that name in the folder of every agent
  [[ $1 == @(current|current.new|supervise|supervise.new|loop.pid|main.pid|log|log.1|file) ]]
}

open_folder() { # sets name, folder, home, way and previous, from the parameters
  name=$PT_name
  is_name "$name" || fail agent/refused "name $name: letters, digits, dots, underscores, + and - only"
  folder=${PT_folder:-/opt/ur/agents}
  home=$folder/$name
  way=$(way_of_running)
  previous=$(current_version)
}

current_version() { # prints it, or nothing
  readlink "$home/current" || true
}

read_version() { # <folder of a version>: reads its .ur.json into version_field, once
  local fields
  [[ ! -v version_field["$1 command"] ]] || return 0
  mapfile -d '' -t fields < <(jq -j '.sha256, .from, .command, .health, .minisign_key | . // "", "\u0000"' "$1/.ur.json")
  set_version_fields "$1" "${fields[@]}"
}

set_version_fields() { # <folder of a version> <sha256> <from> <command> <health> <minisign_key>
  local key folder=$1
  for key in sha256 from command health minisign_key; do
    shift
    version_field["$folder $key"]=${1:-}
  done
}

current_field() { # <variable> <key of version_field>: sets it to what is said of the current version
  local ur_folder
  ur_folder=$home/$(current_version)
  read_version "$ur_folder"
  printf -v "$1" %s "${version_field["$ur_folder $2"]}"
}

write_version() { # <folder> <version> <sha256> <where it came from> <command> <health> [<minisign's key that has signed it>]: writes its .ur.json
  local file=$1/.ur.json
  printf '{"name":%s,"version":%s,"sha256":"%s","from":%s,"command":%s,"health":%s%s,"installed_at":"%s"}\n' \
    "$(json_string "$name")" "$(json_string "$2")" "$3" "$(json_string "$4")" "$(json_string "$5")" "$(json_string "$6")" \
    "${7:+,\"minisign_key\":$(json_string "$7")}" "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" >"$file.new"
  # In the place of whatever has that name, and not through it.
  mv --no-target-directory "$file.new" "$file"
  set_version_fields "$1" "${@:3}"
}

lock_folder() { # two at a time would each take the other's version for the one to go back to
  mkdir -p "$home"
  exec {lock}>"$home/.lock"
  flock --nonblock "$lock" || fail agent/busy "another task is installing or removing $name on this node: wait for it"
}

unpack_version() { # makes $home/$version of $tarball: whole, or not at all
  local new=$home/.new inside
  rm -rf "$new"
  mkdir -p "$new"
  tar --extract --no-same-owner --no-same-permissions --file="$tarball" --directory="$new" \
    || refuse_tarball agent/bad-tarball 'tar could not unpack it: its message is in the log'
  clean_tree "$new"
  inside=$(folder_of_program "$new") || refuse_tarball agent/bad-tarball \
    "there is no program ${command%% *} in it: $(cd "$new" && find . -type f -perm -u+x | head -n 20 | paste -sd ' ')"
  # No file of the tarball is one of ours.
  rm -rf "$inside/.ur.json" "$inside/.ur.json.new"
  write_version "$inside" "$version" "$PT_sha256" "$(without_password "$fetched_from")" "$command" "${PT_health:-}" "${PT_minisign_key:-}"
  sync -f "$inside"
  # What is there has no .ur.json: it is what an interrupted run has left.
  rm -rf "${home:?}/$version"
  mv --no-target-directory "$inside" "$home/$version"
  rm -rf "$new"
}

clean_tree() { # <directory>: what root has unpacked gives nobody more than the one who runs it, whatever the tarball says
  local odd
  odd=$(find "$1" ! -type f ! -type d ! -type l -printf '%P (%y)\n' -quit)
  [[ -z $odd ]] || refuse_tarball agent/bad-tarball "it holds a device, a FIFO or a socket: $odd"
  find "$1" \( -type f -o -type d \) -exec chmod u+rwX,go-w,a-st {} +
}

folder_of_program() { # <directory>: prints where the program of the command is: there, or in the one folder in it, as most tarballs have one that is named for the version
  local place
  for place in "$1" "$(find "$1" -mindepth 1 -maxdepth 1)"; do
    if [[ ! -L $place && -f $place/${command%% *} && -x $place/${command%% *} ]]; then
      printf '%s' "$place"
      return
    fi
  done
  return 1
}

refuse_tarball() { # <kind> <message>: nothing of it stays
  rm -rf "$home/.new" "$tarball" "$tarball".*
  forget_agent_without_version
  fail "$@"
}

forget_agent_without_version() { # an agent without any version is none: its folder would be listed as one
  rmdir "$folder/.fetched" 2>/dev/null || true
  compgen -G "$home/*/.ur.json" >/dev/null || rm -rf "$home"
}

switch_to() { # <version>: from one moment to the next
  ln -sfn "$1" "$home/current.new"
  mv --no-target-directory "$home/current.new" "$home/current"
}

forget_old() { # <version>…: removes all others
  local path
  for path in "$home"/*/.ur.json; do
    path=${path%/.ur.json}
    # "current" is a link to one that stays.
    [[ -L $path || " $* " == *" ${path##*/} "* ]] || rm -rf "$path"
  done
}
