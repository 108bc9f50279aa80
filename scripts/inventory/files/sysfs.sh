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

# Bytes to a text of UTF-8, for jq. What is none becomes U+FFFD.
# shellcheck disable=SC2034,SC2016 # for the collectors; a program of jq
readonly utf8_filter='
  def utf8:
    def bad($state): if $state.missing > 0 then $state | .out += [65533] | .missing = 0 else $state end;
    def ended: .code as $code | .out += [if .code < .least or .code > 1114111 or (.code >= 55296 and .code < 57344) then 65533 else $code end];
    reduce .[] as $byte ({out: [], missing: 0, code: 0, least: 0};
      if .missing > 0 and $byte >= 128 and $byte < 192 then .code = .code * 64 + $byte - 128 | .missing -= 1 | if .missing == 0 then ended else . end
      else bad(.)
        | if $byte < 128 then .out += [$byte]
          elif $byte >= 194 and $byte < 224 then .missing = 1 | .code = $byte - 192 | .least = 128
          elif $byte >= 224 and $byte < 240 then .missing = 2 | .code = $byte - 224 | .least = 2048
          elif $byte >= 240 and $byte < 245 then .missing = 3 | .code = $byte - 240 | .least = 65536
          else .out += [65533] end
      end)
    | bad(.) | .out | implode;'

objects() { # reads the members of one object a line; prints an array of the objects
  local members array=''
  while IFS= read -r members || [[ -n $members ]]; do array+=",{${members#,}}"; done
  printf '[%s]' "${array#,}"
}
