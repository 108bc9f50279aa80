# shellcheck shell=bash
# The one disk that an image task works on. Needs the library's ur.sh and disks.sh, and guards.sh of the module disk.

choose_one_disk() { # <hint>: sets disk; also facts and targets, for the guards
  choose_disks "[$1]" '[]'
  ((${#targets[@]} == 1)) || fail ur/hint "hint $1 is ambiguous: it means $(disk_names "$(target_facts)")"
  disk=${targets[0]}
}
