# shellcheck shell=bash
# Attributes of /sys and /proc, which are small files, as JSON: without a process for each, because there are thousands of
# them on a big machine. It knows nothing of what they mean. Needs the library's ur.sh.

read_line() { # <file>: sets line to its first line, trimmed; fails if there is none
  line=
  read -r line 2>/dev/null <"$1" || true
  [[ -n $line ]]
}

describe() { # <directory> <key>[#|?][=<file>]…: prints members of an object, each after a comma; a # makes a number, a ? a boolean
  local directory=$1 word key file members='' line quoted
  shift
  for word; do
    key=${word%%=*} file=${word#*=}
    file=${file%[#?]}
    read_line "$directory/$file" || continue
    case $key in
      # Below zero is how the kernel says that it does not know.
      *'#') if [[ $line =~ ^(0|[1-9][0-9]*)$ ]]; then members+=",\"${key%?}\":$line"; fi ;;
      *'?') if [[ $line == [01] ]]; then
        [[ $line == 1 ]] && line=true || line=false
        members+=",\"${key%?}\":$line"
      fi ;;
      *)
        to_json quoted "$line"
        members+=",\"$key\":$quoted"
        ;;
    esac
  done
  printf '%s' "$members"
}

object() { # <the arguments of describe>: prints an object
  local members
  members=$(describe "$@")
  printf '{%s}' "${members#,}"
}

text() { # <key> <value>: prints a member, after a comma, unless the value is empty
  [[ -z $2 ]] || printf ',"%s":%s' "$1" "$(json_string "$2")"
}

link_name() { # <symbolic link>: prints the last part of what it points to, or nothing
  local target
  target=$(readlink "$1" || true)
  printf '%s' "${target##*/}"
}

objects() { # reads the members of one object a line; prints an array of the objects
  local members array=''
  while IFS= read -r members; do array+=",{${members#,}}"; done
  printf '[%s]' "${array#,}"
}
