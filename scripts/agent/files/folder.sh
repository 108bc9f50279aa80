# shellcheck shell=bash
# The folders of agents: one for each, in it one for each version, and the link "current". Beside what was unpacked, a
# version has .ur.json, which says what it is. Needs the library's ur.sh.

declare -A version_field=() # what .ur.json says: by "<folder of the version> <sha256, command or health>"

is_name() { # <text>: succeeds if it can be the name of a folder and nothing else
  [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._+-]*$ ]]
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
  mapfile -d '' -t fields < <(jq -j '.sha256, "\u0000", .command, "\u0000", .health, "\u0000"' "$1/.ur.json")
  version_field["$1 sha256"]=${fields[0]:-}
  version_field["$1 command"]=${fields[1]:-}
  version_field["$1 health"]=${fields[2]:-}
}

current_field() { # <variable> <sha256, command or health>: sets it to what is said of the current version
  local ur_folder
  ur_folder=$home/$(current_version)
  read_version "$ur_folder"
  printf -v "$1" %s "${version_field["$ur_folder $2"]}"
}

write_version() { # <folder> <version> <sha256> <where it came from> <command> <health>: writes its .ur.json
  printf '{"name":%s,"version":%s,"sha256":"%s","from":%s,"command":%s,"health":%s,"installed_at":"%s"}\n' \
    "$(json_string "$name")" "$(json_string "$2")" "$3" "$(json_string "$4")" "$(json_string "$5")" "$(json_string "$6")" \
    "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" >"$1/.ur.json"
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
  tar --extract --no-same-owner --file="$tarball" --directory="$new" || fail agent/bad-tarball 'tar could not unpack it: its message is in the log'
  # Most tarballs have one folder that is named for the version, in which all is.
  inside=$(find "$new" -mindepth 1 -maxdepth 1)
  [[ -d $inside && ! -L $inside ]] || inside=$new
  [[ -x $inside/${command%% *} && -f $inside/${command%% *} ]] \
    || fail agent/bad-tarball "there is no program ${command%% *} in it: $(cd "$inside" && find . -type f -perm -u+x | head -n 20 | paste -sd ' ')"
  write_version "$inside" "$version" "$PT_sha256" "$(without_password "$fetched_from")" "$command" "${PT_health:-}"
  sync -f "$inside"
  mv --no-target-directory "$inside" "$home/$version"
  rm -rf "$new"
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
