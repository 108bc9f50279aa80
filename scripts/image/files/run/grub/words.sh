# shellcheck shell=bash
# Words of GRUB's scripts: a file is read into tokens, and tokens are expanded to the words of a command.
#
#   line      = { blank | ";" | "#" rest of the line | token }, ended by the end of the line, which is a token ";" too
#   token     = { character | "\" character | "'" text "'" | '"' text '"' }
#   expansion = "$" name | "${" name "}" | "$" digit | "$?"
#
# An expansion outside of quotes is split at blanks, within double quotes it is not, within single quotes there is none.
# Anything else, $( ) or a quote that is not closed, ends the reading. Needs filesystems.sh's give_up.

# The variables of all files of grub/.
start_grub() {
  grub_tokens=()               # of all files that were read; a menu entry is a range of them
  declare -gA grub_env=()      # GRUB's variables
  declare -gA grub_function=() # by name: start and end
  grub_status=0                # of the last command
  grub_menu=()                 # entries of the menu that is open: title, id, start and end, kind; separated by \x1f
}

grub_read() { # <file>: adds its tokens
  local line
  # Characters, escapes, quotes and what stands in them.
  local word=$'^([^[:blank:];\'"\\\\]|\\\\.|\'[^\']*\'|"([^"\\\\]|\\\\.)*")+'
  while IFS= read -r line || [[ -n $line ]]; do
    # GRUB drops it, too.
    line=${line%$'\r'}
    while [[ -n $line ]]; do
      case $line in
        [[:blank:]]*) line=${line#?} ;;
        '#'*) break ;;
        ';'*)
          grub_tokens+=(';')
          line=${line#?}
          ;;
        *)
          [[ $line =~ $word ]] || give_up "${1##*/} has a line that is not understood: $line"
          grub_tokens+=("${BASH_REMATCH[0]}")
          line=${line:${#BASH_REMATCH[0]}}
          ;;
      esac
    done
    grub_tokens+=(';')
  done <"$1"
}

grub_value() { # <name>: a variable's value, in grub_got
  case $1 in
    '?') grub_got=$grub_status ;;
    feature_*) grub_got=y ;;
    *) grub_got=${grub_env[$1]-} ;;
  esac
}

grub_expand() { # <token>…: sets grub_words; quotes keep together what an expansion brings, and keep what is empty
  local rest word open part split
  grub_words=()
  for rest; do
    word='' open=''
    while [[ -n $rest ]]; do
      if [[ $rest =~ ^\'([^\']*)\' ]]; then
        word+=${BASH_REMATCH[1]} open=1
      elif [[ $rest =~ ^\"(([^\"\\]|\\.)*)\" ]]; then
        part=${BASH_REMATCH[0]}
        grub_quoted "${BASH_REMATCH[1]}"
        word+=$grub_got open=1
        rest=${rest:${#part}}
        continue
      elif [[ $rest =~ ^\\(.) ]]; then
        word+=${BASH_REMATCH[1]} open=1
      elif [[ $rest =~ ^\$(\{([A-Za-z0-9_]+)\}|[A-Za-z_][A-Za-z0-9_]*|[0-9?]) ]]; then
        part=${BASH_REMATCH[0]}
        grub_value "${BASH_REMATCH[2]:-${BASH_REMATCH[1]}}"
        read -ra split <<<"$grub_got"
        if ((${#split[@]} > 1)); then
          grub_words+=("$word${split[0]}" "${split[@]:1:${#split[@]}-2}")
          word=${split[-1]}
        else
          word+=${split[0]-}
        fi
        rest=${rest:${#part}}
        continue
      elif [[ $rest == '$'* ]]; then
        give_up "grub.cfg expands $rest, which is not understood"
      else
        [[ $rest =~ ^[^\'\"\\\$]+ ]]
        word+=${BASH_REMATCH[0]}
      fi
      rest=${rest:${#BASH_REMATCH[0]}}
    done
    [[ -z $word$open ]] || grub_words+=("$word")
  done
}

grub_quoted() { # <what stands in double quotes>: sets grub_got
  local rest=$1 text='' part
  while [[ -n $rest ]]; do
    if [[ $rest =~ ^\$(\{([A-Za-z0-9_]+)\}|[A-Za-z_][A-Za-z0-9_]*|[0-9?]) ]]; then
      part=${BASH_REMATCH[0]}
      grub_value "${BASH_REMATCH[2]:-${BASH_REMATCH[1]}}"
      text+=$grub_got
      rest=${rest:${#part}}
    elif [[ $rest =~ ^\\([\"\\\$]) ]]; then
      text+=${BASH_REMATCH[1]}
      rest=${rest:2}
    else
      text+=${rest:0:1}
      rest=${rest:1}
    fi
  done
  grub_got=$text
}
