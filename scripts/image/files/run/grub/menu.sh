# shellcheck shell=bash
# The menu that a grub.cfg makes, and the entry of it that is booted by default. Needs the other files of grub/.

grub_take() { # <number of the file system> <path of grub.cfg there>: sets the variables target_…, by the default entry
  local directory=${2%/*} platform=pc file
  file=$(resolve_inside "$1" "$2")
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
