# shellcheck shell=bash
# GRUB's test command:
#
#   test = test "-o" test | test "-a" test | "!" test | [ word ]
#        | ( "-n" | "-z" | "-e" | "-f" | "-d" | "-s" ) word
#        | word ( "=" | "==" | "!=" | "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" ) word
#
# -o binds least, then -a, then !. Needs commands.sh.

grub_test() { # <word>… [ ]: its truth
  local words=("$@") at one
  # `[` ends with its bracket.
  [[ ${words[*]: -1} != ']' ]] || unset 'words[-1]'
  for at in "${!words[@]}"; do
    if [[ ${words[at]} == -o ]]; then
      grub_test "${words[@]:0:at}" || grub_test "${words[@]:at+1}"
      return
    fi
  done
  for at in "${!words[@]}"; do
    if [[ ${words[at]} == -a ]]; then
      grub_test "${words[@]:0:at}" && grub_test "${words[@]:at+1}"
      return
    fi
  done
  if [[ ${words[0]-} == '!' ]]; then
    grub_test "${words[@]:1}" && return 1 || return 0
  fi
  one=${words[0]-}
  case ${#words[@]} in
    0) return 1 ;;
    1) [[ -n $one ]] ;;
    2) grub_test_one "${words[@]}" ;;
    3) grub_compare "${words[@]}" ;;
    *) give_up "grub.cfg has the test ${words[*]}, which is not understood" ;;
  esac
}

grub_test_one() { # <-n|-z|-e|-f|-d|-s> <word>
  local place file
  case $1 in
    -n) [[ -n $2 ]] ;;
    -z) [[ -z $2 ]] ;;
    -[efds])
      place=$(grub_place "$2")
      file=$(resolve_inside "${place%%:*}" "${place#*:}") && test "$1" "$file"
      ;;
    *) give_up "grub.cfg has the test $1, which is not understood" ;;
  esac
}

grub_compare() { # <word> <operator> <word>
  case $2 in
    = | ==) [[ $1 == "$3" ]] ;;
    !=) [[ $1 != "$3" ]] ;;
    -eq | -ne | -lt | -le | -gt | -ge)
      [[ $1$3 =~ ^-?[0-9]+-?[0-9]*$ ]] || give_up "grub.cfg compares $1 with $3 as numbers"
      test "$1" "$2" "$3"
      ;;
    *) give_up "grub.cfg has the test $2, which is not understood" ;;
  esac
}
