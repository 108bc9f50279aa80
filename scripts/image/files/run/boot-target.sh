# shellcheck shell=bash
# The boot target of an image on a disk: kernel, initrds and command line, as the image's own loader would start them. Where
# two answers are possible there is none. Needs filesystems.sh, bls.sh and the files of grub/.

find_boot_target() { # <directory> <more arguments for the kernel> <device>…: leaves there kernel, initrd, cmdline and target.json; or reason: why there is no target
  # A shell of its own, in a mount namespace of its own, which ends wherever it does not understand. The functions of this
  # task come along in a file.
  {
    declare -f
    printf 'inspect_image "$@"\n'
  } >"$1/reader"
  limited 300 unshare --mount --propagation private "$BASH" -euo pipefail -O inherit_errexit -O nullglob "$1/reader" "$@" >&2 \
    || [[ -e $1/reason ]] || printf 'what its loader would do could not be read: the log tells more' >"$1/reason"
  [[ ! -e $1/reason ]]
}

inspect_image() { # <directory> <more arguments for the kernel> <device>…: what that shell does
  start_reading "$1"
  mount_all "${@:3}"
  read_target
  target_options+=${2:+${target_options:+ }$2}
  extract_files
}

start_reading() { # <directory>: sets the variables that the reading begins with: here, in filesystems.sh and in grub/
  looked=$1
  target_source='' target_title='' target_linux='' target_options='' target_initrds=()
  start_filesystems
  start_grub
}

read_target() { # sets the variables target_…
  local configs=() number file
  find_grub
  find_bls
  if ((${#configs[@]} > 1)); then
    give_up "there is more than one grub.cfg: $(printf '%s ' "${configs[@]}")"
  elif ((${#configs[@]} == 1)); then
    [[ -z $bls_conf || " ${grub_tokens[*]} " == *' blscfg '* ]] || give_up 'there are grub.cfg and loader.conf: which of the two loaders starts is not known'
    target_source=${configs[0]#*:}
    grub_tokens=()
    grub_take "${configs[0]%%:*}" "${configs[0]#*:}"
  elif [[ -n $bls_entries ]]; then
    file=$(bls_choose "$bls_entries" "$bls_conf")
    for number in "${!fs_at[@]}"; do
      if [[ $file == "${fs_at[number]}"/* ]]; then
        target_source=${file#"${fs_at[number]}"}
        bls_take "$file" "$number"
      fi
    done
  else
    give_up "there is neither a grub.cfg nor an entry of the Boot Loader Specification${fs_unread[*]:+; not read: ${fs_unread[*]}}"
  fi
}

find_grub() { # sets configs: number of the file system and path; and grub_tokens to what is in them
  local number path tokens start uefi=() other=()
  for number in "${!fs_at[@]}"; do
    for path in /boot/grub/grub.cfg /boot/grub2/grub.cfg /grub/grub.cfg /grub2/grub.cfg "${fs_at[number]}"/[Ee][Ff][Ii]/*/grub.cfg; do
      path=${path#"${fs_at[number]}"}
      path=$(resolve_inside "$number" "$path") || continue
      start=${#grub_tokens[@]}
      grub_read "$path"
      tokens=" ${grub_tokens[*]:start} "
      # One that only leads to another is none of its own.
      [[ $tokens != *' configfile '* || $tokens == *' menuentry '* ]] || continue
      path=$number:${path#"${fs_at[number]}"}
      case " ${uefi[*]} ${other[*]} " in *" $path "*) continue ;; esac
      if [[ ${path,,} == *:/efi/* ]]; then uefi+=("$path"); else other+=("$path"); fi
    done
  done
  # An image for both kinds of firmware has one for each.
  if is_uefi && ((${#uefi[@]})); then configs=("${uefi[@]}"); else configs=("${other[@]}"); fi
  ((${#configs[@]})) || configs=("${uefi[@]}")
}

find_bls() { # sets bls_entries, and bls_conf to the file system with systemd-boot's loader.conf
  local number files='' place program
  bls_conf=''
  for number in "${!fs_at[@]}"; do
    for place in /loader/entries /boot/loader/entries; do files+=$(bls_files "$number" "$place")$'\n'; done
    [[ ! -e ${fs_at[number]}/loader/loader.conf || ${fs_type[number]} != vfat ]] || bls_conf=$number
    for program in "${fs_at[number]}"/[Ee][Ff][Ii]/[Ll]inux/*.efi; do
      give_up "${program#"${fs_at[number]}"} is kernel and initrd in one EFI program, which kexec does not load"
    done
  done
  bls_entries=$(sed '/^$/d' <<<"$files" | bls_ordered)
}

extract_files() { # copies them out of the image
  local initrd path bytes
  path=$(resolve_inside "${target_linux%%:*}" "${target_linux#*:}") || give_up "$target_title: there is no ${target_linux#*:} in the image"
  cp "$path" "$looked/kernel"
  : >"$looked/initrd"
  for initrd in "${target_initrds[@]}"; do
    path=$(resolve_inside "${initrd%%:*}" "${initrd#*:}") || give_up "$target_title: there is no ${initrd#*:} in the image"
    cat "$path" >>"$looked/initrd"
    # The kernel looks for the next archive at multiples of four.
    bytes=$(stat --format %s "$looked/initrd")
    truncate --size $(((bytes + 3) / 4 * 4)) "$looked/initrd"
  done
  printf '%s' "$target_options" >"$looked/cmdline"
  jq -cn --arg source "$target_source" --arg entry "$target_title" --arg kernel "${target_linux#*:}" --arg cmdline "$target_options" \
    --args '{$source, $entry, $kernel, initrds: $ARGS.positional, $cmdline}' -- "${target_initrds[@]#*:}" >"$looked/target.json"
}
