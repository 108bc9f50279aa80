# shellcheck shell=bash
# Places on this node's disks: a path without links that a stranger may have planted, a folder of our own for what has not
# arrived whole, and the room that is left. All users may write in /tmp, and the task runs as root.

resolve() { # <absolute path>: sets $resolved to the same without links; its last part need not exist
  local rest=$1 part next link hops=0
  [[ $rest == /* ]] || fail file/path "$rest is no absolute path: begin it with /"
  resolved=/
  while [[ -n $rest ]]; do
    part=${rest%%/*}
    rest=${rest:${#part}+1}
    case $part in
      '' | .) continue ;;
      ..)
        resolved=${resolved%/*}
        resolved=${resolved:-/}
        continue
        ;;
    esac
    next=${resolved%/}/$part
    if [[ -L $next ]]; then
      ((++hops <= 40)) || fail file/symlink "$1 has too many symbolic links"
      refuse_planted "$next" "$resolved"
      link=$(readlink -- "$next")
      [[ $link != /* ]] || resolved=/
      rest=$link/$rest
      continue
    fi
    [[ -d $next || -z ${rest//[\/.]/} ]] || fail file/no-directory "$next is no directory on this node: make it first, or name another"
    resolved=$next
  done
}

refuse_planted() { # <link> <its directory>: ends the task if a stranger may have made the link
  local owner mode
  owner=$(stat --format=%u -- "$1")
  mode=$(stat --format=%a -- "$2")
  ((owner == 0 || owner == EUID)) && ((!(0$mode & 2))) && return
  fail file/symlink "$1 is a symbolic link that any user may have made: name the place that it points to"
}

enter() { # <path without links>: makes it the working directory, or ends the task if somebody put a link there meanwhile
  cd -P -- "$1" 2>/dev/null || fail file/no-directory "$1 is no directory on this node: make it first, or name another"
  # Not the shell's own word for it: the kernel's.
  [[ $(env pwd -P) == "$1" ]] || fail file/symlink "$1 was replaced by a symbolic link meanwhile"
}

enter_own() { # <name>: makes a directory of ours in the working directory the working directory; fails if there is none
  [[ -d $1 && ! -L $1 ]] || return 1
  local here
  here=$(env pwd -P)
  enter "${here%/}/$1"
  # Not more exactly: an EFI partition has no modes.
  if [[ $(stat --format=%u .) != "$EUID" ]] || ((0$(stat --format=%a .) & 022)); then
    fail file/foreign "${here%/}/$1 is not ours: another user made it; remove it"
  fi
}

make_own() { # <name>: the same, and makes it if there is none
  enter_own "$1" && return
  mkdir --mode=700 -- "$1" || fail file/read-only "no folder can be made in $(env pwd -P): its message is in the log"
  enter_own "$1"
}

remove_old() { # <beginning of names> <minutes>: removes our folders in the working directory that nothing has touched so long
  find . -mindepth 1 -maxdepth 1 -type d -name "$1*" -user "$EUID" -mmin "+$2" -exec rm -rf -- {} + 2>/dev/null || true
}

has_room() { # <bytes>: whether so much fits on the file system of the working directory
  local blocks size
  read -r blocks size < <(stat --file-system --format='%a %S' .)
  ((blocks * size >= $1 + 1024 * 1024))
}

flush_folder() { # puts what is in the working directory on the disk: what is only in memory is gone with a reboot
  sync --file-system . 2>/dev/null || sync
}
