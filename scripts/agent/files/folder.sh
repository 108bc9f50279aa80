# shellcheck shell=bash
# Where agents lie: a folder for each, in it one for each version, and the link "current". Beside what was unpacked, a
# version has .ur.json, which says what it is. Needs the library's ur.sh.

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

lock_folder() { # two at a time would each take the other's version for the one to go back to
  mkdir -p "$home"
  exec {lock}>"$home/.lock"
  flock --nonblock "$lock" || fail agent/busy "another task is installing or removing $name on this node: wait for it"
}

unpack() { # makes $home/$version of $tarball: whole, or not at all
  local new=$home/.new inside
  rm -rf "$new"
  mkdir -p "$new"
  tar --extract --no-same-owner --file="$tarball" --directory="$new" || fail agent/bad-tarball 'tar could not unpack it: its message is in the log'
  # Most tarballs have one folder that is named for the version, in which all is.
  inside=$(find "$new" -mindepth 1 -maxdepth 1)
  [[ -d $inside && ! -L $inside ]] || inside=$new
  [[ -x $inside/${command%% *} && -f $inside/${command%% *} ]] \
    || fail agent/bad-tarball "there is no program ${command%% *} in it: $(cd "$inside" && find . -type f -perm -u+x | head -n 20 | paste -sd ' ')"
  jq -cn --arg name "$name" --arg version "$version" --arg sha256 "$PT_sha256" --arg from "$(without_password "$fetched_from")" \
    --arg command "$command" --arg health "${PT_health:-}" '{$name, $version, $sha256, $from, $command, $health, installed_at: (now | todate)}' \
    >"$inside/.ur.json"
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
