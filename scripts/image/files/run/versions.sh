# shellcheck shell=bash
# Which of two versions is the newer one: by systemd's order, which its boot loader has, and by rpm's, which the blscfg of
# GRUB has a copy of. Both take segments of digits or of letters; they differ in what stands between.

systemd_is_newer() { # <version> <other version>: strverscmp_improved
  local LC_ALL=C one=$1 other=$2 mark x y
  while :; do
    while [[ $one == [!A-Za-z0-9~^.-]* ]]; do one=${one:1}; done
    while [[ $other == [!A-Za-z0-9~^.-]* ]]; do other=${other:1}; done
    for mark in '~' '' - ^ .; do
      if [[ -z $mark ]]; then
        # But for a pre-release, the longer one is newer.
        [[ -n $one && -n $other ]] || { [[ -n $one ]] && return || return; }
      elif [[ $one == "$mark"* || $other == "$mark"* ]]; then
        # A segment with a mark before it is older than one without.
        [[ $one == "$mark"* && $other == "$mark"* ]] || { [[ $other == "$mark"* ]] && return || return; }
        one=${one:1} other=${other:1}
      fi
    done
    if [[ $one == [0-9]* || $other == [0-9]* ]]; then
      x=${one%%[!0-9]*} y=${other%%[!0-9]*}
      [[ -n $x && -n $y ]] || { [[ -n $x ]] && return || return; }
    else
      x=${one%%[!A-Za-z]*} y=${other%%[!A-Za-z]*}
    fi
    one=${one:${#x}} other=${other:${#y}}
    is_same_segment "$x" "$y" || { is_later_segment "$x" "$y" && return || return; }
  done
}

rpm_is_newer() { # <version> <other version>: rpmvercmp
  local LC_ALL=C one=$1 other=$2 x y
  while [[ -n $one || -n $other ]]; do
    while [[ $one == [!A-Za-z0-9~]* ]]; do one=${one:1}; done
    while [[ $other == [!A-Za-z0-9~]* ]]; do other=${other:1}; done
    if [[ $one == '~'* || $other == '~'* ]]; then
      [[ $one == '~'* ]] || return 0
      [[ $other == '~'* ]] || return 1
      one=${one:1} other=${other:1}
      continue
    fi
    [[ -n $one && -n $other ]] || break
    if [[ $one == [0-9]* ]]; then
      x=${one%%[!0-9]*} y=${other%%[!0-9]*}
      [[ -n $y ]] || return 0
    else
      x=${one%%[!A-Za-z]*} y=${other%%[!A-Za-z]*}
      [[ -n $y ]] || return 1
    fi
    one=${one:${#x}} other=${other:${#y}}
    is_same_segment "$x" "$y" || { is_later_segment "$x" "$y" && return || return; }
  done
  [[ -n $one ]]
}

is_same_segment() { # <digits or letters> <likewise>
  [[ ${1#"${1%%[!0]*}"} == "${2#"${2%%[!0]*}"}" ]]
}

is_later_segment() { # <digits or letters> <likewise, not the same>: the more digits, zeros in front aside, the greater is a number
  local x=${1#"${1%%[!0]*}"} y=${2#"${2%%[!0]*}"}
  if [[ $1 == [0-9]* ]] && ((${#x} != ${#y})); then ((${#x} > ${#y})); else [[ $x > $y ]]; fi
}

grub_is_newer() { # <file name of an entry without its ending> <likewise>: GRUB takes them for names of packages, NAME-VERSION-RELEASE
  local one other x y
  one=$(package_parts "$1") other=$(package_parts "$2")
  while IFS=$'\t' read -r x y; do
    ! rpm_is_newer "$x" "$y" || return 0
    ! rpm_is_newer "$y" "$x" || return 1
  done < <(paste <(printf '%s\n' "$one") <(printf '%s\n' "$other"))
  return 1
}

package_parts() { # <NAME-VERSION-RELEASE>: prints the three, one a line; what is missing is missing at the end
  case $1 in
    *-*-*)
      local front=${1%-*}
      printf '%s\n' "${front%-*}" "${front##*-}" "${1##*-}"
      ;;
    *-*) printf '%s\n' "${1%-*}" "${1##*-}" '' ;;
    *) printf '%s\n' "$1" '' '' ;;
  esac
}

sort_newest() { # <command that succeeds if its first argument is newer than its second>: reads lines, prints them, the newest first; of those that are the same age the first that came
  local line at lines=()
  while IFS= read -r line; do
    for ((at = ${#lines[@]}; at > 0; at--)); do
      "$1" "$line" "${lines[at - 1]}" || break
    done
    lines=("${lines[@]:0:at}" "$line" "${lines[@]:at}")
  done
  ((${#lines[@]} == 0)) || printf '%s\n' "${lines[@]}"
}
