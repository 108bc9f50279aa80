#!/usr/bin/env bash
# The layout of a machine's disks: partitions, arrays, volumes, file systems and mounts, made at the first boot and found at
# later ones. What is right already is left alone; what differs is a question for the operator, not for a script.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/inuse.sh
source "$PT__installdir/ur/files/inuse.sh"
# shellcheck source=scripts/disk/files/guards.sh
source "$PT__installdir/disk/files/guards.sh"
# shellcheck source=scripts/disk/files/stack.sh
source "$PT__installdir/disk/files/stack.sh"
# shellcheck source=scripts/disk/files/wipe.sh
source "$PT__installdir/disk/files/wipe.sh"
# shellcheck source=scripts/disk/files/layout.sh
source "$PT__installdir/disk/files/layout.sh"
# shellcheck source=scripts/disk/files/build.sh
source "$PT__installdir/disk/files/build.sh"
# shellcheck source=scripts/disk/files/fits.sh
source "$PT__installdir/disk/files/fits.sh"

target=${PT_target:-/}
target=${target%/}
made=()
wiped=()   # of the disks that are written to, those that force gives away, and those to be given a table
lacking=() # what is to be made

main() {
  trace
  need jq wipefs:util-linux partx:util-linux blkid:util-linux blockdev:util-linux findfs:util-linux sfdisk:fdisk
  make_scratch
  guards
  if noop; then
    report would-build "${lacking[@]}"
    return
  fi
  writes
  verification
}

guards() {
  local thing
  read_layout "$PT_layout"
  need_for_layout
  resolve_disks
  survey
  guard_fits
  for thing in "${!state[@]}"; do differ "${thing%% *}" "${thing#* }"; done
  # What will be written to must be free, and what will be wiped must be free for that.
  guard_disks false
  ((${#targets[@]} == 0)) || end_if_refused
}

differ() { # <kind> <name>: chooses its disks for writing where nothing is, or where force says so; else refuses
  local disk is=${state["$1 $2"]}
  # A mount writes to no disk, and a file system that is there may be used.
  [[ $is != right && "$1 $is" != 'mount absent' ]] || return 0
  # What is hidden is most likely there. It may be missing too, after a run that was interrupted, so its disks must be free.
  if [[ $is == hidden ]]; then is=absent; else lacking+=("$1 $2"); fi
  while read -r disk; do
    [[ " ${targets[*]} " == *" $disk "* ]] || targets+=("$disk")
    [[ $is != absent || $1 == table ]] || continue
    [[ " ${wiped[*]} " == *" $disk "* ]] || wiped+=("$disk")
    [[ $is != absent ]] || continue
    if [[ $1 == mount ]]; then
      refuse "$disk" "$1 $2: $is"
    elif ! items "${PT_force:-[]}" | grep -qxF -- "$(identity "$disk")"; then
      refuse "$disk" "$1 $2: $is; force does not name it: $(identity "$disk")"
    fi
  done < <(disks_under "$1" "$2")
}

known_so_far() { # for an error after the first write
  [[ -n ${begun:-} ]] && printf '{"made":%s}' "$(printf '%s\n' "${made[@]}" | sed '/^$/d' | json_strings)"
}

writes() {
  local disk
  begun=true
  need_for_stacks "${wiped[@]}"
  take_down "${wiped[@]}"
  for disk in "${wiped[@]}"; do
    log "/dev/$disk: wiping it"
    wipe_disk "$disk"
  done
  survey
  build
  write_fstab
}

verification() { # surveys the disks again, as if for the first time
  local thing wrong=''
  survey
  for thing in "${!state[@]}"; do
    [[ ${state[$thing]} == right ]] || wrong+="$thing: ${state[$thing]}. "
  done
  [[ -z $wrong ]] || fail disk/failed "after the work it is not as the layout wants: $wrong"
  report built "${made[@]}"
}

report() { # <verdict of the disks that are changed> <kind and name>…: by what is made on them; a mount changes no disk
  local disk thing name value disks states='' changed
  changed=$(for thing in "${@:2}"; do [[ $thing == mount\ * ]] || disks_under "${thing%% *}" "${thing#* }"; done)
  disks=$(for disk in "${disk_of[@]}"; do
    if grep -qxF "$disk" <<<"$changed"; then verdict "$disk" "$1" ''; else verdict "$disk" unchanged ''; fi
  done)
  for thing in "${!state[@]}"; do
    to_json name "$thing"
    to_json value "${state[$thing]}"
    states+=,$name:$value
  done
  result "{\"disks\":$(json_array "$disks"),\"made\":$(for thing in "${made[@]}"; do printf '%s\n' "$thing"; done | json_strings),\"states\":{${states#,}}}"
}

main "$@"
