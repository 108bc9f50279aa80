# shellcheck shell=bash
# What the image on a disk boots: kernel, initrds and command line, by the loader that it has. Where two answers are
# possible there is none. Needs filesystems.sh, bls.sh, grub.sh and grub-test.sh.

target_source='' target_title='' target_linux='' target_options='' target_initrds=()

# In a shell of its own, whose mounts nobody else sees and which may end wherever it does not understand.
find_target() { # <directory> <device>…: leaves there kernel, initrd and target.json; or reason: why there is no target
  declare -f >"$1/functions"
  # shellcheck disable=SC2016 # for the shell in there
  limited 300 unshare --mount --propagation private "$BASH" -euo pipefail -O inherit_errexit -O nullglob -c '
    source "$1/functions"
    looked=$1
    '"$(declare -p grub_word)"'
    declare -A grub_env=() grub_function=() bls=()
    fs_at=() fs_type=() fs_uuid=() fs_label=() fs_unread=() grub_tokens=() grub_menu=() grub_status=0
    target_source="" target_title="" target_linux="" target_options="" target_initrds=()
    mount_all "${@:2}"
    read_target
    take_files' - "$@" >&2 || [[ -e $1/reason ]] || printf 'what its loader would do could not be read: the log tells more' >"$1/reason"
  [[ ! -e $1/reason ]]
}

read_target() { # sets what the jump needs
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
      path=$(inside "$number" "$path") || continue
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

take_files() { # copies them out of the image
  local initrd path bytes
  path=$(inside "${target_linux%%:*}" "${target_linux#*:}") || give_up "$target_title: there is no ${target_linux#*:} in the image"
  cp "$path" "$looked/kernel"
  : >"$looked/initrd"
  for initrd in "${target_initrds[@]}"; do
    path=$(inside "${initrd%%:*}" "${initrd#*:}") || give_up "$target_title: there is no ${initrd#*:} in the image"
    cat "$path" >>"$looked/initrd"
    # The kernel looks for the next archive at multiples of four.
    bytes=$(stat --format %s "$looked/initrd")
    truncate --size $(((bytes + 3) / 4 * 4)) "$looked/initrd"
  done
  jq -cn --arg source "$target_source" --arg entry "$target_title" --arg kernel "${target_linux#*:}" --arg cmdline "$target_options" \
    --args '{$source, $entry, $kernel, initrds: $ARGS.positional, $cmdline}' -- "${target_initrds[@]#*:}" >"$looked/target.json"
}
