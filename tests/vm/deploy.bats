#!/usr/bin/env bats
# From a blank disk to a running operating system, by versioned tasks alone: what announces itself in the end, by the same
# UUID, is that system's own agent. By a jump into its kernel first, and by the firmware's own way afterwards.

load vm
load deploy

setup_file() {
  load_ramdisk full
  serve_image
  uefi 1
  blank_machine 1
}

teardown() { tell_consoles; }

teardown_file() {
  power_off_all
  stop_serving
}

entry_booted() { # <number>: prints the number of the UEFI entry that the firmware last took
  ur exec -n "$(uuid_of "$1")" 'mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs none /sys/firmware/efi/efivars
    od -An -tx2 -j4 /sys/firmware/efi/efivars/BootCurrent-*' -J | jq -r '.result.stdout | ascii_upcase | gsub("\\s"; "")'
}

@test 'a machine with a blank disk announces itself, and has what is wanted' {
  await 400 node 1 '.Disks.vda.Serial == "OS" and ."Firmware Type" == "uefi"'
  task 1 inventory::collect
  [[ $result == *OS* ]]
  task 1 --yes disk::wipe 'select=[{"serial":"OS"}]' 'confirm_serials=["OS"]'
  answer '.disks[].verdict' wiped
}

@test 'the image is written, and told what it must know' {
  write 1
  answer .serial OS
  give_broker 1
}

@test 'the firmware gets an entry for it' {
  task 1 image::boot disk='{"serial":"OS"}'
  jq -er .entry <<<"$result" >"$BATS_FILE_TMPDIR/entry"
}

@test 'a jump into its kernel, and its own agent is there by the same UUID' {
  local before
  before=$(boot_id 1)
  task 1 image::run disk='{"serial":"OS"}' method=kexec
  answer .method kexec
  await 400 has_new_system 1 "$before"
  # It was no boot of the firmware's: that last took the medium.
  [[ $(entry_booted 1) != "$(<"$BATS_FILE_TMPDIR/entry")" ]]
  ur exec -n "$(uuid_of 1)" 'findmnt -no source /' | grep -q /dev/vda3
}

@test 'the new system reboots, and the firmware starts it by its entry' {
  local before
  before=$(boot_id 1)
  task 1 power::reboot
  await 400 has_new_system 1 "$before"
  [[ $(entry_booted 1) == "$(<"$BATS_FILE_TMPDIR/entry")" ]]
  power_off 1
}

@test 'a machine with a BIOS reboots into it' {
  local before
  blank_machine 2
  await 400 node 2 '.Disks.vda.Serial == "OS" and ."Firmware Type" == "bios"'
  write 2
  give_broker 2
  before=$(boot_id 2)
  task 2 image::run method=reboot
  answer .method reboot
  await 400 has_new_system 2 "$before"
}
