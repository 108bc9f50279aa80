#!/usr/bin/env bash
# From the ramdisk into the system that has been written to the disk: by a jump into its kernel, which spares minutes of
# firmware, where it is certain what the image's own loader would start; else by a reboot. The reply is out before that.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/power/files/down.sh
source "$PT__installdir/power/files/down.sh"
# shellcheck source=scripts/image/files/filesystems.sh
source "$PT__installdir/image/files/filesystems.sh"
# shellcheck source=scripts/image/files/bls.sh
source "$PT__installdir/image/files/bls.sh"
# shellcheck source=scripts/image/files/grub.sh
source "$PT__installdir/image/files/grub.sh"
# shellcheck source=scripts/image/files/grub-test.sh
source "$PT__installdir/image/files/grub-test.sh"
# shellcheck source=scripts/image/files/target.sh
source "$PT__installdir/image/files/target.sh"
# shellcheck source=scripts/image/files/jump.sh
source "$PT__installdir/image/files/jump.sh"

# The exit status by which a script asks the agent for a reboot.
readonly please_reboot=113

method=${PT_method:-auto}
disk='{}'
target='{}'
why='' # there is no jump

main() {
  trace
  need jq sync:coreutils timeout:coreutils reboot:systemd-sysv
  guards
  if noop; then
    report
    return
  fi
  writes
  verification
  report
  stay_behind leave
  exit "$please_reboot"
}

guards() {
  guard_idle
  if [[ $method == reboot ]]; then
    why='method says so'
  else
    need kexec:kexec-tools unshare:util-linux blkid:util-linux partx:util-linux mount
    disk=$(the_disk)
    make_scratch
    why=$(why_no_jump)
    [[ -n $why ]] || look
    guard_jump
  fi
}

the_disk() { # prints the facts of the disk that the hint means, or of the only one there is
  local all name hint=${PT_disk:-}
  all=$(list_disks | while read -r name; do disk_facts "$name"; done)
  if [[ -z $hint ]]; then
    [[ -n $all && $all != *$'\n'* ]] || fail ur/hint "give disk, a hint: this node has $(disk_names "$all")"
    hint=$(jq -c '{name}' <<<"$all")
  fi
  one_disk "$hint" "$all"
}

look() { # sets target, or why
  local name device devices=()
  name=$(jq -r '.name | ltrimstr("/dev/")' <<<"$disk")
  partx --update "/dev/$name" 2>/dev/null || true
  for device in "/sys/class/block/$name" "/sys/class/block/$name/$name"*; do
    [[ ! -b /dev/${device##*/} ]] || devices+=("/dev/${device##*/}")
  done
  if find_target "$scratch" "${devices[@]}"; then
    target=$(jq -c --arg more "$(more_arguments)" '.cmdline |= ([., $more] | map(select(. != "")) | join(" "))' "$scratch/target.json")
  else
    why=$(<"$scratch/reason")
  fi
}

more_arguments() { # prints what the kernel's command line is to have besides the image's
  local word words=()
  if [[ ${PT_keep_console:-false} == true ]]; then
    for word in $(</proc/cmdline); do
      [[ $word != console=* ]] || words+=("$word")
    done
  fi
  printf '%s' "${words[*]}${PT_append:+${words:+ }$PT_append}"
}

guard_jump() {
  [[ $method != kexec || -z $why ]] || fail image/no-target "nothing was done: $why; method=auto reboots instead"
}

writes() {
  flush
  if [[ -z $why ]]; then
    progress 50 'loading the kernel'
    load "$scratch" "$(jq -r .cmdline <<<"$target")"
  fi
}

verification() {
  if [[ -n $why ]]; then
    # Else a reboot would be a jump.
    unload
    guard_jump
  fi
}

report() {
  result "$(jq -cn --arg method "$([[ -z $why ]] && printf kexec || printf reboot)" --arg why "$why" --argjson disk "$disk" \
    --argjson target "$target" --argjson noop "$(noop && printf true || printf false)" --arg reason "${PT_reason:-}" \
    --arg unflushed "${unflushed% }" --arg cut_short "$running" '
    {$method, $noop, disk: ($disk | {name, serial} | select(.name) // null)}
    + (if $why == "" then $target else {no_kexec: $why} end)
    + ({$reason, $unflushed, $cut_short} | with_entries(select(.value != "")))
    | with_entries(select(.value != null))')"
}

leave() { # the agent reboots when all its replies are out; what comes after that is forced
  if [[ -n ${UR_JOB_DIR:-} ]]; then
    wait_until 600 [ -e "$UR_JOB_DIR/rebooting" ]
  else
    sleep 5
  fi
  [[ -n $why ]] || jump
  sleep "${PT_grace:-120}"
  go_down reboot b
}

main "$@"
