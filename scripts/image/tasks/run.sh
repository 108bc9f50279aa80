#!/usr/bin/env bash
# Starts the system that has been written to the disk: by kexec of its kernel, which saves minutes of firmware, where it is
# certain what the image's own loader would start; else by a reboot. The reply is out before that.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/job.sh
source "$PT__installdir/ur/files/job.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/ur/files/partitions.sh
source "$PT__installdir/ur/files/partitions.sh"
# shellcheck source=scripts/power/files/down.sh
source "$PT__installdir/power/files/down.sh"
# shellcheck source=scripts/image/files/run/filesystems.sh
source "$PT__installdir/image/files/run/filesystems.sh"
# shellcheck source=scripts/image/files/run/versions.sh
source "$PT__installdir/image/files/run/versions.sh"
# shellcheck source=scripts/image/files/run/bls.sh
source "$PT__installdir/image/files/run/bls.sh"
# shellcheck source=scripts/image/files/run/grub/words.sh
source "$PT__installdir/image/files/run/grub/words.sh"
# shellcheck source=scripts/image/files/run/grub/statements.sh
source "$PT__installdir/image/files/run/grub/statements.sh"
# shellcheck source=scripts/image/files/run/grub/commands.sh
source "$PT__installdir/image/files/run/grub/commands.sh"
# shellcheck source=scripts/image/files/run/grub/test.sh
source "$PT__installdir/image/files/run/grub/test.sh"
# shellcheck source=scripts/image/files/run/grub/menu.sh
source "$PT__installdir/image/files/run/grub/menu.sh"
# shellcheck source=scripts/image/files/run/boot-target.sh
source "$PT__installdir/image/files/run/boot-target.sh"
# shellcheck source=scripts/image/files/run/kexec.sh
source "$PT__installdir/image/files/run/kexec.sh"

# The exit status by which a script asks the agent for a reboot.
readonly please_reboot=113

method=${PT_method:-auto}
disk_name='' disk_serial=''
target='' # JSON: what is booted by kexec
why=''    # there is no kexec

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
    choose_disk
    make_scratch
    why=$(kexec_obstacle)
    [[ -n $why ]] || find_kernel
    guard_kexec
  fi
}

choose_disk() { # sets disk_name and disk_serial of the disk that the hint means, or of the only one there is
  local all name found hint=${PT_disk:-}
  all=$(list_disks | while read -r name; do disk_facts "$name"; done)
  if [[ -z $hint ]]; then
    [[ -n $all && $all != *$'\n'* ]] || fail ur/hint "give disk, a hint: this node has $(disk_names "$all")"
    found=$all
  else
    found=$(one_disk "$hint" "$all")
  fi
  found=$(jq -r '.name, .serial' <<<"$found")
  disk_name=${found%%$'\n'*} disk_serial=${found#*$'\n'}
}

find_kernel() { # sets target, or why
  local name=${disk_name#/dev/} device devices=()
  update_partitions "$name" 2>/dev/null
  for device in "/sys/class/block/$name" "/sys/class/block/$name/$name"*; do
    [[ ! -b /dev/${device##*/} ]] || devices+=("/dev/${device##*/}")
  done
  if find_boot_target "$scratch" "$(more_arguments)" "${devices[@]}"; then
    target=$(<"$scratch/target.json")
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

guard_kexec() {
  [[ $method != kexec || -z $why ]] || fail image/no-target "nothing was done: $why; method=auto reboots instead"
}

writes() {
  flush
  if [[ -z $why ]]; then
    progress 50 'loading the kernel'
    load_kernel "$scratch"
  fi
}

verification() {
  if [[ -n $why ]]; then
    # Else a reboot would start what another has loaded.
    unload_kernel
    guard_kexec
  fi
}

report() {
  local noop=false used=kexec more=''
  ! noop || noop=true
  if [[ -n $why ]]; then
    used=reboot
    more+=",\"no_kexec\":$(json_string "$why")"
  else
    more+=,${target:1:-1}
  fi
  [[ -z $disk_name ]] || more+=",\"disk\":{\"name\":$(json_string "$disk_name"),\"serial\":$(json_string "$disk_serial")}"
  [[ -z ${PT_reason:-} ]] || more+=",\"reason\":$(json_string "$PT_reason")"
  [[ -z ${unflushed% } ]] || more+=",\"unflushed\":$(json_string "${unflushed% }")"
  [[ -z $running ]] || more+=",\"cut_short\":$(json_string "$running")"
  result "{\"method\":\"$used\",\"noop\":$noop$more}"
}

leave() { # the agent reboots when all its replies are out; what comes after that is forced
  if find_job; then
    wait_until 600 [ -e "$job_state/rebooting" ]
  else
    sleep 5
  fi
  [[ -n $why ]] || start_kernel
  sleep "${PT_grace:-120}"
  go_down reboot b
}

main "$@"
