# shellcheck shell=bash
# What GRUB would boot by its grub.cfg, which is a script: this runs as much of GRUB's language as the configurations of
# distributions have, and gives up at whatever it does not know. A guess here would boot something else than the firmware.
# A device is called fs and the number of its file system, as in (fs0)/boot. Needs filesystems.sh, bls.sh, grub-test.sh.

grub_tokens=()              # of all files that were read; a menu entry is a range of them
declare -A grub_env=()      # GRUB's variables
declare -A grub_function=() # by name: start and end
grub_status=0               # of the last command
grub_menu=()                # entries of the menu that is open: title, id, start and end, kind; separated by \x1f

# A word: characters, escapes, quotes and what stands in them.
readonly grub_word=$'^([^[:blank:];\'"\\\\]|\\\\.|\'[^\']*\'|"([^"\\\\]|\\\\.)*")+'

grub_read() { # <file>: adds its tokens
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    while [[ -n $line ]]; do
      case $line in
        [[:blank:]]*) line=${line#?} ;;
        '#'*) break ;;
        ';'*)
          grub_tokens+=(';')
          line=${line#?}
          ;;
        *)
          [[ $line =~ $grub_word ]] || give_up "${1##*/} has a line that is not understood: $line"
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
    # What is to be booted once is crossed out by GRUB; nobody would do that here, and it would be booted once more.
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

grub_call() { # <function> [<argument>…]
  local range=${grub_function[$1]} back=$grub_at number
  shift
  for number in 1 2 3; do grub_env[$number]=${!number-}; done
  grub_at=${range% *}
  grub_list 1 "${range#* }"
  grub_at=$back
}

grub_source() { # <path>
  local place back=$grub_at file
  place=$(grub_place "$1")
  file=$(inside "${place%%:*}" "${place#*:}") || {
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
      file) inside "$number" "$name" >/dev/null || continue ;;
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
  file=$(inside "${place%%:*}" "${place#*:}") || return 0
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line != '#'* && $line == *=* ]] || continue
    [[ $only == ' ' || $only == *" ${line%%=*} "* ]] || continue
    line=${line//\\\\/\\}
    grub_env[${line%%=*}]=${line#*=}
  done <"$file"
}

grub_blscfg() { # adds the entries of loader/entries to the menu, the newest first
  local device=${grub_env[boot]:-${grub_env[root]}} files file start
  [[ $device == fs* ]] || give_up "grub.cfg wants entries from $device, which is not found on this disk"
  files=$(bls_files "${device#fs}" /loader/entries)
  [[ -n $files ]] || files=$(bls_files "${device#fs}" /boot/loader/entries)
  while read -r file; do
    [[ -n $file ]] || continue
    bls_read "$file"
    bls_is_ours || continue
    [[ -z ${bls[devicetree]:-} ]] || give_up "${file##*/} wants a device tree, which kexec does not load"
    start=${#grub_tokens[@]}
    # As GRUB does it: a menu entry whose words are expanded when it is chosen.
    grub_read <(printf 'linux %s %s\n%s\n' "${bls[linux]}" "${bls[options]}" "${bls[initrd]:+initrd ${bls[initrd]//$'\n'/ }}")
    file=${file##*/}
    grub_menu+=("${bls[title]:-$file}"$'\x1f'"${file%.conf}"$'\x1f'"$start"$'\x1f'"${#grub_tokens[@]}"$'\x1f'menuentry)
  done < <(LC_ALL=C sort -rV <<<"$files")
}

grub_take() { # <number of the file system> <path of grub.cfg there>: sets what the jump needs, by the default entry
  local directory=${2%/*} platform=pc file
  file=$(inside "$1" "$2")
  ! is_uefi || platform=efi
  grub_env=([root]=fs$1 [prefix]="(fs$1)$directory" [config_directory]="(fs$1)$directory" [config_file]="(fs$1)$2"
    [grub_platform]=$platform [menuentry_id_option]=--id)
  grub_at=0
  grub_read "$file"
  grub_list 1 "${#grub_tokens[@]}"
  grub_open "${grub_env[default]:-0}"
  [[ -n $target_linux ]] || give_up "the default entry of grub.cfg, $target_title, loads no Linux"
}

grub_open() { # <default: number, title or id; of a submenu > of an entry in it>: runs that entry
  local want=${1%%>*} number fields=() found=0
  ((${#grub_menu[@]})) || give_up 'grub.cfg makes an empty menu'
  for number in "${!grub_menu[@]}"; do
    IFS=$'\x1f' read -ra fields <<<"${grub_menu[number]}"
    if [[ $want == "$number" || $want == "${fields[0]}" || (-n ${fields[1]} && $want == "${fields[1]}") ]]; then
      found=$number
      break
    fi
  done
  # GRUB takes the first if there is none such.
  IFS=$'\x1f' read -ra fields <<<"${grub_menu[found]}"
  grub_env[chosen]=$want
  target_title=${fields[0]}
  grub_at=${fields[2]}
  if [[ ${fields[4]} == submenu ]]; then
    [[ $1 == *'>'* ]] || give_up "the default entry of grub.cfg, $target_title, is a menu of its own"
    grub_menu=()
    grub_list 1 "${fields[3]}"
    grub_open "${1#*>}"
  else
    grub_list 1 "${fields[3]}"
  fi
}
