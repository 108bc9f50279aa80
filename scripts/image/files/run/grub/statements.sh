# shellcheck shell=bash disable=SC2004 # grub_env and grub_function are associative arrays
# Statements of GRUB's scripts, run as GRUB would run them:
#
#   list      = { statement | ";" }
#   statement = "if" list "then" list { "elif" list "then" list } [ "else" list ] "fi"
#             | "function" name "{" list "}"
#             | ( "menuentry" | "submenu" ) word { word } "{" list "}"
#             | name "=" word | command { word }
#
# A menu entry is kept, not run. Loops and case end the reading: no configuration that a distribution generates has them.
# Needs words.sh and commands.sh.

# Statements from grub_at on, to one of the words that end them or to the end of the range; grub_status is that of the
# last. What is not to be run is stepped over.
grub_list() { # <whether to run> <end> [<word that ends it>…]
  local run=$1 end=$2 token
  shift 2
  while ((grub_at < end)); do
    token=${grub_tokens[grub_at]}
    [[ " $* " != *" $token "* ]] || return 0
    case $token in
      ';') ((++grub_at)) ;;
      if) grub_if "$run" "$end" ;;
      function) grub_define "$run" "$end" ;;
      menuentry | submenu) grub_entry "$run" "$end" ;;
      for | while | until | case) give_up "grub.cfg has a loop, which is not understood" ;;
      *) grub_simple "$run" "$end" ;;
    esac
  done
}

grub_if() { # <whether to run> <end>
  local run=$1 done=0 taken
  grub_status=0
  while :; do
    ((++grub_at))
    taken=$((run && !done))
    grub_list "$taken" "$2" "then"
    taken=$((taken && grub_status == 0))
    ((++grub_at))
    grub_list "$taken" "$2" "elif" "else" "fi"
    ((!taken)) || done=1
    [[ ${grub_tokens[grub_at]-} == elif ]] || break
  done
  if [[ ${grub_tokens[grub_at]-} == else ]]; then
    ((++grub_at))
    grub_list $((run && !done)) "$2" "fi"
  fi
  [[ ${grub_tokens[grub_at]-} == 'fi' ]] || give_up 'grub.cfg has an if without an end'
  ((++grub_at))
}

grub_block() { # <end>: from { on; sets grub_block_start and grub_block_end, and steps over it
  local depth=0
  while ((grub_at < $1)) && [[ ${grub_tokens[grub_at]} == ';' ]]; do ((++grub_at)); done
  grub_block_start=$((grub_at + 1))
  while ((grub_at < $1)); do
    case ${grub_tokens[grub_at++]} in
      '{') ((++depth)) ;;
      '}') ((--depth)) || {
        grub_block_end=$((grub_at - 1))
        return
      } ;;
    esac
  done
  give_up 'grub.cfg has a { without an end'
}

grub_define() { # <whether to run> <end>
  local name=${grub_tokens[grub_at + 1]}
  ((grub_at += 2))
  grub_block "$2"
  ((!$1)) || grub_function[$name]="$grub_block_start $grub_block_end"
}

grub_entry() { # <whether to run> <end>: an entry of the menu is kept; nothing in it is run
  local kind=${grub_tokens[grub_at]} tokens=() title id=''
  while ((++grub_at < $2)) && [[ ${grub_tokens[grub_at]} != '{' ]]; do tokens+=("${grub_tokens[grub_at]}"); done
  grub_block "$2"
  (($1)) || return 0
  grub_expand "${tokens[@]}"
  title=${grub_words[0]-}
  set -- "${grub_words[@]:1}"
  while (($#)); do
    case $1 in
      --id) id=${2-} && shift ;;
      --id=*) id=${1#--id=} ;;
    esac
    shift
  done
  grub_menu+=("$title"$'\x1f'"$id"$'\x1f'"$grub_block_start"$'\x1f'"$grub_block_end"$'\x1f'"$kind")
}

grub_simple() { # <whether to run> <end>
  local tokens=()
  while ((grub_at < $2)) && [[ ${grub_tokens[grub_at]} != ';' ]]; do tokens+=("${grub_tokens[grub_at++]}"); done
  (($1)) || return 0
  grub_expand "${tokens[@]}"
  ((${#grub_words[@]})) || return 0
  grub_run "${grub_words[@]}"
}

grub_call() { # <function> [<argument>…]
  local range=${grub_function[$1]} back=$grub_at number
  shift
  for number in 1 2 3; do grub_env[$number]=${!number-}; done
  grub_at=${range% *}
  grub_list 1 "${range#* }"
  grub_at=$back
}
