# shellcheck shell=bash disable=SC2004 # grub_env and grub_function are associative arrays
# Commands of GRUB: those that decide what is booted are done, those that only show or prepare something are passed over,
# and any other ends the reading, because a guess would boot something else than the firmware. A device is called fs and the
# number of its file system, as in (fs0)/boot. Needs the other files of grub/, filesystems.sh and bls.sh.

grub_run() { # <command> [<argument>…]: sets grub_status
  grub_status=0
  if [[ -n ${grub_function[$1]-} ]]; then
    grub_call "$@"
    return
  fi
  case $1 in
    [A-Za-z_]*=*) grub_set "$1" ;;
    set) [[ ${2-} != *=* ]] || grub_set "$2" ;;
    # Not unset, which would expand the name once more: it is the image's.
    unset) grub_env[$2]='' ;;
    '[' | test) grub_test "${@:2}" || grub_status=1 ;;
    search | search.*) grub_search "$@" || grub_status=1 ;;
    load_env) grub_load_env "${@:2}" ;;
    # What is to be booted once is crossed out by GRUB. Here it would not be, and be booted once more.
    save_env) [[ " $* " != *' next_entry '* ]] || give_up 'the image asks for one boot of another entry (next_entry)' ;;
    source | .) grub_source "$2" ;;
    linux | linux16 | linuxefi)
      target_linux=$(grub_place "$2")
      target_options="BOOT_IMAGE=$2 ${*:3}"
      ;;
    initrd | initrd16 | initrdefi) grub_initrds "${@:2}" ;;
    blscfg) grub_blscfg ;;
    # A list of graphics cards that lose their picture: one that is not in it.
    hwmatch) grub_env[match]=0 ;;
    false | keystatus | background_image) grub_status=1 ;;
    # Screens, fonts, sounds and modules: nothing of what is booted depends on them.
    true | echo | sleep | export | insmod | loadfont | terminal_input | terminal_output | serial | play | clear | \
      gfxpayload | background_color | password | password_pbkdf2 | set_background_image | recordfail | initrdfail | fwsetup | cpuid) ;;
    *) give_up "grub.cfg has the command $1, which is not understood" ;;
  esac
}

grub_set() { # <name=value>
  [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || give_up "grub.cfg sets $1, which is not understood"
  grub_env[${1%%=*}]=${1#*=}
}

grub_source() { # <path>
  local place back=$grub_at file
  place=$(grub_place "$1")
  file=$(resolve_inside "${place%%:*}" "${place#*:}") || {
    grub_status=1
    return
  }
  grub_at=${#grub_tokens[@]}
  grub_read "$file"
  grub_list 1 "${#grub_tokens[@]}"
  grub_at=$back
}

grub_place() { # <(device)/path, or path on $root>: prints the number of the file system and the path: 0:/boot/vmlinuz
  local device=${grub_env[root]} path=$1
  if [[ $1 =~ ^\(([^\)]+)\)(.*) ]]; then
    device=${BASH_REMATCH[1]} path=${BASH_REMATCH[2]}
  fi
  [[ $device =~ ^fs[0-9]+$ && $path == /* ]] || give_up "grub.cfg names $1 on $device, which is not found on this disk"
  printf '%s:%s' "${device#fs}" "$path"
}

grub_initrds() { # <path>…
  local path
  target_initrds=()
  for path; do
    [[ $path != newc:* ]] || give_up "grub.cfg wants $path, which is not understood"
    target_initrds+=("$(grub_place "$path")")
  done
}

grub_search() { # search [--fs-uuid|--label|--file] [--set[=VARIABLE]] [--hint…] NAME; search.fs_uuid NAME VARIABLE
  local by=${1#search} variable=root name='' number
  by=${by#.}
  shift
  [[ -z $by ]] || {
    name=$1 variable=${2:-root}
    set --
  }
  while (($#)); do
    case $1 in
      --fs-uuid | -u) by=fs_uuid ;;
      --label | -l) by=fs_label ;;
      --file | -f) by='file' ;;
      --set=*) variable=${1#--set=} ;;
      --set | -s) if [[ ${2-} == [a-z]* && $# -gt 2 ]]; then variable=$2 && shift; fi ;;
      --hint) shift ;;
      --no-floppy | -n | --efidisk-only | --hint*) ;;
      -*) give_up "grub.cfg has search $1, which is not understood" ;;
      *) name=$1 ;;
    esac
    shift
  done
  for number in "${!fs_at[@]}"; do
    case $by in
      fs_uuid) [[ ${fs_uuid[number],,} == "${name,,}" ]] || continue ;;
      fs_label | label) [[ ${fs_label[number]} == "$name" ]] || continue ;;
      file) resolve_inside "$number" "$name" >/dev/null || continue ;;
    esac
    grub_env[$variable]=fs$number
    return 0
  done
  # GRUB looks on other disks too. The default entry must not depend on what they hold.
  grub_env[$variable]="a device with $name"
  return 1
}

grub_load_env() { # [--skip-sig] [--file FILE] [<name>…]: of a file with lines NAME=VALUE
  local path=${grub_env[prefix]}/grubenv place file line only=' '
  while (($#)); do
    case $1 in
      --file | -f) path=$2 && shift ;;
      --file=*) path=${1#--file=} ;;
      -*) ;;
      *) only+="$1 " ;;
    esac
    shift
  done
  place=$(grub_place "$path")
  file=$(resolve_inside "${place%%:*}" "${place#*:}") || return 0
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line != '#'* && $line == *=* ]] || continue
    [[ $only == ' ' || $only == *" ${line%%=*} "* ]] || continue
    line=${line//\\\\/\\}
    grub_env[${line%%=*}]=${line#*=}
  done <"$file"
}

grub_blscfg() { # adds the entries of loader/entries to the menu, the newest first
  local device=${grub_env[boot]:-${grub_env[root]}} files file start ordered
  [[ $device == fs* ]] || give_up "grub.cfg wants entries from $device, which is not found on this disk"
  files=$(bls_files "${device#fs}" /loader/entries)
  [[ -n $files ]] || files=$(bls_files "${device#fs}" /boot/loader/entries)
  ordered=$(sed '/^$/d; s/\.conf$//' <<<"$files" | sort_newest grub_entry_is_before)
  # There are GRUBs with another order, and it is not known which of them the image has.
  [[ $ordered == "$(sort_newest systemd_is_newer <<<"$ordered")" ]] \
    || give_up "which of the entries in loader/entries is the newest depends on the loader: ${ordered//$'\n'/, }"
  while read -r file; do
    [[ -n $file ]] || continue
    file+=.conf
    bls_read "$file"
    bls_is_ours || continue
    [[ -z ${bls[devicetree]:-} ]] || give_up "${file##*/} wants a device tree, which kexec does not load"
    start=${#grub_tokens[@]}
    # As GRUB does it: a menu entry whose words are expanded when it is chosen.
    grub_read <(printf 'linux %s %s\n%s\n' "${bls[linux]}" "${bls[options]}" "${bls[initrd]:+initrd ${bls[initrd]//$'\n'/ }}")
    file=${file##*/}
    grub_menu+=("${bls[title]:-$file}"$'\x1f'"${file%.conf}"$'\x1f'"$start"$'\x1f'"${#grub_tokens[@]}"$'\x1f'menuentry)
  done <<<"$ordered"
}

grub_entry_is_before() { # <path of an entry without its ending> <likewise>
  grub_is_newer "${1##*/}" "${2##*/}"
}
