# shellcheck shell=bash disable=SC2030,SC2031 # where bls is set in a subshell, it is used there
# Entries of the Boot Loader Specification, type 1: a file for each, in loader/entries. Needs filesystems.sh.
# https://uapi-group.org/specifications/specs/boot_loader_specification/

bls_read() { # <file>: sets bls to its keys; those that may stand several times are joined, initrd by newlines
  local key value
  declare -gA bls=([linux]='' [initrd]='' [options]='' [title]='' [version]='')
  while read -r key value || [[ -n $key ]]; do
    value=${value%"${value##*[![:space:]]}"}
    case $key in
      '' | '#'*) ;;
      options) bls[options]+=${bls[options]:+ }$value ;;
      initrd) bls[initrd]+=${bls[initrd]:+$'\n'}$value ;;
      *) bls[${key//-/_}]=$value ;;
    esac
  done <"$1"
}

bls_files() { # <number of the file system> <directory in it>: prints its entries, one a line, in no order
  local directory file
  directory=$(resolve_inside "$1" "$2") || return 0
  for file in "$directory"/*.conf; do
    [[ ! -f $file || -L $file ]] || printf '%s\n' "$file"
  done
}

bls_is_ours() { # succeeds if the entry that was read is for machines such as this one
  local machine=${MACHTYPE%%-*}
  case ${bls[architecture]:-} in
    '') ;;
    x64 | x86_64 | x86-64) [[ $machine == x86_64 ]] ;;
    aa64 | arm64) [[ $machine == aarch64 ]] ;;
    *) return 1 ;;
  esac
}

# The order of systemd-boot's menu: those that ran out of tries last; those with a sort-key first, by it, by machine-id, and
# the newest version first; then by file name, the newest first. An id is the file's name, in small letters, without the
# count of its tries.
bls_ordered() { # reads file names: prints file and id, the entry that is first in the menu first
  local file id bad
  while read -r file; do
    bls_read "$file"
    bls_is_ours || continue
    [[ -n ${bls[linux]}${bls[efi]:-}${bls[uki]:-} ]] || continue
    id=${file##*/}
    id=${id,,}
    bad=0
    if [[ $id =~ ^(.*)\+([0-9]+)(-[0-9]+)?(\.conf)$ ]]; then
      ((10#${BASH_REMATCH[2]})) || bad=1
      id=${BASH_REMATCH[1]}.conf
    fi
    # Machine and version count among those that have a sort-key; the others go by their names alone.
    [[ -n ${bls[sort_key]:-} ]] || bls[machine_id]='' bls[version]=''
    printf '%s\x1f' "$bad" "$([[ -n ${bls[sort_key]:-} ]] && printf 0 || printf 1)" "${bls[sort_key]:-}" \
      "${bls[machine_id]:-}" "${bls[version]:-}" "$id" "$file"
    printf '\n'
  done | sort_newest bls_is_before | awk -F '\x1f' -v OFS='\t' '{ print $7, $6 }'
}

bls_is_before() { # <fields of an entry> <likewise>
  local LC_ALL=C one other at
  IFS=$'\x1f' read -ra one <<<"$1"
  IFS=$'\x1f' read -ra other <<<"$2"
  for at in 0 1 2 3; do
    [[ ${one[at]} == "${other[at]}" ]] || { [[ ${one[at]} < ${other[at]} ]] && return || return; }
  done
  ! systemd_is_newer "${one[4]}" "${other[4]}" || return 0
  ! systemd_is_newer "${other[4]}" "${one[4]}" || return 1
  systemd_is_newer "${one[5]}" "${other[5]}"
}

bls_choose() { # <entries, file and id a line> <number of the file system with loader.conf, or nothing>: prints the default one
  local conf='' default='' file id key value
  [[ -z $2 ]] || conf=$(resolve_inside "$2" /loader/loader.conf || true)
  [[ -z $conf ]] || while read -r key value || [[ -n $key ]]; do
    [[ $key != default ]] || default=${value%"${value##*[![:space:]]}"}
  done <"$conf"
  # What was chosen last is in a variable of firmware that has seen another system; there is none of this image.
  [[ $default != @saved ]] || default=
  default=${default,,}
  [[ -z $default ]] || while IFS=$'\t' read -r file id; do
    # shellcheck disable=SC2053 # it is a pattern
    if [[ $id == $default ]]; then
      printf '%s' "$file"
      return
    elif [[ ${id%.conf} == $default && $file != "${1%%$'\t'*}" ]]; then
      give_up "loader.conf names $default, which old versions of systemd-boot take for $id, and others for none"
    fi
  done <<<"$1"
  printf '%s' "${1%%$'\t'*}"
}

bls_take() { # <file> <number of the file system>: sets the variables target_…
  local initrd
  bls_read "$1"
  [[ -z ${bls[devicetree]:-}${bls[devicetree_overlay]:-} ]] || give_up "${1##*/} wants a device tree, which kexec does not load"
  [[ -n ${bls[linux]} ]] || give_up "${1##*/} is an EFI program, which kexec does not load"
  target_title=${bls[title]:-${1##*/}}
  target_linux=$2:${bls[linux]}
  target_options=${bls[options]}
  while read -r initrd; do
    [[ -z $initrd ]] || target_initrds+=("$2:$initrd")
  done <<<"${bls[initrd]}"
}
