# shellcheck shell=bash
# The boot loader that the firmware shall start, on the EFI system partition of a disk. That is read by mtools: a file
# system out of an image is never mounted, and nothing in it is run. Needs the library's ur.sh and partitions.sh.

export MTOOLS_SKIP_CHECK=1
readonly esp_type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b

firmware_suffix() { # prints what the names of loaders end in that this firmware can start
  case $(uname -m):$(cat /sys/firmware/efi/fw_platform_size 2>/dev/null || true) in
    aarch64:*) printf aa64 ;;
    riscv64:*) printf riscv64 ;;
    *:32) printf ia32 ;;
    *) printf x64 ;;
  esac
}

find_esp() { # sets esp, esp_number, and of the loader on it loader, label and loaders; fails if there is none
  local number found=()
  for number in "${!part_node[@]}"; do
    [[ ${part_type[number]} == @("$esp_type"|ef) && (-z ${PT_esp:-} || $number == "$PT_esp") ]] || continue
    see_partition "${part_node[number]}"
    if find_loader "${part_node[number]}"; then found+=("$number"); fi
  done
  case ${#found[@]} in
    0) return 1 ;;
    1) ;;
    *) fail image/refused "/dev/$disk has loaders on several EFI system partitions: say esp=N: ${found[*]}" ;;
  esac
  esp_number=${found[0]}
  esp=${part_node[esp_number]}
  find_loader "$esp"
}

find_loader() { # <device>: sets loader, label and loaders; fails if there is none
  local file suffix pattern
  suffix=$(firmware_suffix)
  # Names that a shell or mtools could take for more than names are not taken for a loader.
  mapfile -t loaders < <(mdir -/ -b -i "$1" ::/EFI 2>/dev/null | sed 's/^:://' | grep -iE '^/EFI/[A-Za-z0-9._/ -]+\.(efi|csv)$' | LC_ALL=C sort)
  loader=
  for file in "${loaders[@]}"; do
    if [[ ${file,,} == /efi/*/boot?("$suffix").csv && ${file,,} != /efi/boot/* ]] && read_csv "$1" "$file"; then return; fi
  done
  for pattern in "/efi/*/shim$suffix.efi" "/efi/*/grub$suffix.efi" "/efi/systemd/systemd-boot$suffix.efi" \
    '/efi/microsoft/boot/bootmgfw.efi' "/efi/boot/boot$suffix.efi"; do
    for file in "${loaders[@]}"; do
      # shellcheck disable=SC2053 # it is a pattern
      [[ ${file,,} == $pattern && (${file,,} != /efi/boot/* || $pattern == /efi/boot/*) ]] || continue
      loader=$file
      label=$(cut -d / -f 3 <<<"$file")
      return
    done
  done
  return 1
}

read_csv() { # <device> <file>: what the maker of the image says: file,label,options,description in UTF-16. Sets loader and label
  local line name file
  line=$(mtype -i "$1" "::$2" 2>/dev/null | head -c 4096 | tr -d '\0\377\376\r' | tr -cd '\n -~' | head -n 1)
  IFS=, read -r name label _ <<<"$line"
  for file in "${loaders[@]}"; do
    [[ ${file,,} == "${2%/*}/$name" || ${file,,} == "$(tr '[:upper:]' '[:lower:]' <<<"${2%/*}/$name")" ]] || continue
    loader=$file
    label=${label:-$(cut -d / -f 3 <<<"$file")}
    label=${label:0:60}
    return
  done
  return 1
}

# Where firmware looks that has no entry, or has lost it: \EFI\BOOT\BOOTX64.EFI.
has_removable() {
  printf '%s\n' "${loaders[@]}" | grep -qix "/EFI/BOOT/BOOT$(firmware_suffix).EFI"
}

make_removable() { # copies the loader there, and what it starts from its own directory
  local file name directory=${loader%/*} suffix
  suffix=$(firmware_suffix)
  mmd -D s -i "$esp" ::/EFI/BOOT 2>/dev/null || true
  for file in "${loaders[@]}"; do
    name=${file##*/}
    if [[ $file == "$loader" ]]; then
      name=BOOT${suffix^^}.EFI
    elif [[ ${loader,,} != */shim* || ${file%/*} != "$directory" || ${name,,} != @(grub|mm)"$suffix".efi ]]; then
      continue
    fi
    mcopy -o -n -i "$esp" "::$file" "$scratch/copy" && mcopy -o -i "$esp" "$scratch/copy" "::/EFI/BOOT/$name" || return
    sync "$esp" && blockdev --flushbufs "$esp" || return
    mtype -i "$esp" "::/EFI/BOOT/$name" | cmp - "$scratch/copy" || return
    rm -f "$scratch/copy"
  done
}
