#!/usr/bin/env bats
# image::boot, on real block devices with real FATs. The firmware is played by efibootmgr-shim; tests/vm/boot.bats has
# a real one.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031

bats_require_minimum_version 1.5.0
load machine

setup() {
  setup_machine
  add_disk 64M
  export MTOOLS_SKIP_CHECK=1 FIRMWARE=$BATS_TEST_TMPDIR/firmware
  SHIMS=$BATS_TEST_TMPDIR/shims
  mkdir "$FIRMWARE" "$SHIMS"
  ln -s "$BATS_TEST_DIRNAME/shims/efibootmgr-shim" "$SHIMS/efibootmgr"
  printf '0000\t*\tUEFI PXE\tPciRoot(0x0)/Pci(0x3,0x0)/MAC(525400000001,1)\n' >"$FIRMWARE/entries"
  printf '0000\n' >"$FIRMWARE/order"
  # shellcheck disable=SC2016 # for the shell in there
  on_machine sh -euc 'mount -t tmpfs none /sys/firmware; mkdir -p /sys/firmware/efi/efivars
    mount -t tmpfs none /sys/firmware/efi/efivars; printf 64 >/sys/firmware/efi/fw_platform_size'
}

teardown() {
  teardown_machine
}

esp() { # <disk> [<file in the ESP>…]: an image with these in its EFI system partition; each holds its own name
  local device=$1 file
  shift
  sfdisk --quiet "$device" <<<"${TABLE:-$'label: gpt\nsize=20M, type=uefi\nsize=20M, type=linux'}"
  partx --update "$device"
  mkfs.vfat -S "$(blockdev --getss "$device")" "${device}p1" >/dev/null
  for file; do
    printf '%s' "$file" >"$BATS_TEST_TMPDIR/file"
    put "$device" "$file" "$BATS_TEST_TMPDIR/file"
  done
}

put() { # <disk> <file in the ESP> <file>
  local directory='' part
  for part in $(dirname "$2" | tr / ' '); do
    directory+=/$part
    mmd -D s -i "${1}p1" "::$directory" 2>/dev/null || true
  done
  mcopy -o -i "${1}p1" "$3" "::$2"
}

csv() { # <disk> <directory> <line>: in UTF-16 with its mark, as shim has it
  { printf '\377\376' && printf '%s\r\n' "$3" | iconv -t UTF-16LE; } >"$BATS_TEST_TMPDIR/csv"
  put "$1" "$2/BOOTX64.CSV" "$BATS_TEST_TMPDIR/csv"
}

boot() { # [<parameter>=<value>…]
  task image::boot "disk={\"name\":\"$DISK\"}" "$@"
}

entry() { # <number>: prints it
  awk -F '\t' -v number="$1" '$1 == number { print $3, $4 }' "$FIRMWARE/entries"
}

guid() { # <partition>
  sfdisk --part-uuid "$DISK" "$1" | tr '[:upper:]' '[:lower:]'
}

changed_nothing() {
  run ! grep -vE '^show' "$FIRMWARE/calls"
}

@test 'the loader that the image names gets an entry, first in the order' {
  esp "$DISK" /EFI/acme/shimx64.efi /EFI/acme/grubx64.efi /EFI/BOOT/BOOTX64.EFI
  csv "$DISK" /EFI/acme 'shimx64.efi,Acme Linux 12,,the entry of Acme'
  boot
  ((status == 0))
  answer '[.verdict, .label, .loader, .entry, .removable] | @csv' '"set","Ur: Acme Linux 12","\EFI\acme\shimx64.efi","0001","there"'
  answer '.order | join(" ")' '0001 0000'
  diff <(entry 0001) - <<<"Ur: Acme Linux 12 HD(1,GPT,$(guid 1),0x800,0x5000)/File(\\EFI\\acme\\shimx64.efi)"
}

@test 'without such a file: shim before GRUB, GRUB before systemd-boot, and the place for removable media last' {
  local files=(/EFI/BOOT/BOOTX64.EFI /EFI/systemd/systemd-bootx64.efi /EFI/acme/grubx64.efi /EFI/zeta/shimx64.efi) wanted number
  for number in 1 2 3 4; do
    esp "$DISK" "${files[@]:0:number}"
    boot
    ((status == 0))
    wanted=${files[number - 1]}
    answer .loader "${wanted//\//\\}"
  done
}

@test 'loaders for other machines are none' {
  esp "$DISK" /EFI/acme/shimaa64.efi /EFI/BOOT/BOOTIA32.EFI
  boot
  ((status != 0))
  answer ._error.kind image/not-uefi
  [[ ! -e $FIRMWARE/calls ]]
}

@test 'run twice, the second changes nothing' {
  esp "$DISK" /EFI/acme/grubx64.efi
  boot
  answer .verdict set
  rm "$FIRMWARE/calls"
  boot
  ((status == 0))
  answer .verdict unchanged
  changed_nothing
}

@test 'our entries of earlier images go, and those for partitions that are nowhere; other entries stay' {
  esp "$DISK" /EFI/acme/grubx64.efi
  {
    printf '0001\t*\tUr: old\tHD(1,GPT,%s,0x800,0x5000)/File(\\EFI\\old\\grubx64.efi)\n' "$(guid 1)"
    printf '0002\t*\tdebian\tHD(1,GPT,11111111-2222-3333-4444-555555555555,0x800,0x5000)/File(\\EFI\\debian\\shimx64.efi)\n'
    printf '0003\t*\tother\tHD(2,GPT,%s,0x800,0x5000)/\\EFI\\other\\shimx64.efi\n' "$(guid 2)"
    printf '0004\t*\tUSB\tPciRoot(0x0)/Pci(0x1,0x2)/USB(0,0)\n'
  } >>"$FIRMWARE/entries"
  printf '0004,0001,0002,0003,0000\n' >"$FIRMWARE/order"
  boot prune=own _noop=true
  answer '[.pruned[].number] | join(" ")' 0001
  boot
  ((status == 0))
  answer '[.pruned[] | "\(.number) \(.why)"] | join("; ")' '0001 an earlier one of ours; 0002 this machine has no such partition'
  answer '[.entries[].number] | sort | join(" ")' '0000 0001 0003 0004'
  answer '.order | join(" ")' '0001 0004 0003 0000'
  answer '.entries[] | select(.number == "0001") | .label' 'Ur: acme'
}

@test 'the entry may be the last, and may be the next' {
  esp "$DISK" /EFI/acme/grubx64.efi
  boot order=last next=true
  ((status == 0))
  answer '.order | join(" ")' '0000 0001'
  answer .next 0001
}

@test 'a disk with an MBR has an EFI system partition too' {
  TABLE=$'label: dos\nsize=20M, type=ef\nsize=20M, type=83' esp "$DISK" /EFI/acme/grubx64.efi
  boot
  ((status == 0))
  answer .verdict set
  boot
  answer .verdict unchanged
}

@test 'a disk with 4096-byte sectors is read like any other' {
  add_disk 400M 4096
  TABLE=$'label: gpt\nsize=300M, type=uefi' esp "$DISK" /EFI/acme/grubx64.efi
  boot removable=true
  ((status == 0))
  answer '[.verdict, .loader, .removable] | @csv' '"set","\EFI\acme\grubx64.efi","made"'
}

@test 'with two EFI system partitions that have loaders, one must be named' {
  TABLE=$'label: gpt\nsize=20M, type=uefi\nsize=20M, type=uefi' esp "$DISK" /EFI/acme/grubx64.efi
  dd if="${DISK}p1" of="${DISK}p2" bs=1M conv=fsync status=none
  boot
  ((status != 0))
  [[ $(jq -r ._error.msg <<<"$output") == *'say esp=N: 1 2'* ]]
  [[ ! -e $FIRMWARE/calls ]]
  boot esp=2
  ((status == 0))
  answer .esp "${DISK}p2"
}

@test 'firmware that takes no entry finds the loader in the place for removable media: shim with what it starts' {
  esp "$DISK" /EFI/acme/shimx64.efi /EFI/acme/grubx64.efi /EFI/acme/mmx64.efi /EFI/acme/notes.efi
  touch "$FIRMWARE/mute"
  boot
  ((status == 0))
  answer '[.verdict, .removable] | @csv' '"removable","made"'
  [[ $(jq -r .reason <<<"$output") == *'Read-only file system'* ]]
  diff <(mdir -/ -b -i "${DISK}p1" ::/EFI/BOOT 2>/dev/null | sort) - <<'END'
::/EFI/BOOT/BOOTX64.EFI
::/EFI/BOOT/grubx64.efi
::/EFI/BOOT/mmx64.efi
END
  [[ $(mtype -i "${DISK}p1" ::/EFI/BOOT/BOOTX64.EFI 2>/dev/null) == /EFI/acme/shimx64.efi ]]
  fsck.vfat -n "${DISK}p1"
}

@test 'a loader that is there for removable media is not overwritten' {
  esp "$DISK" /EFI/acme/grubx64.efi /EFI/BOOT/BOOTX64.EFI
  touch "$FIRMWARE/silent"
  boot
  ((status == 0))
  answer '[.verdict, .removable] | @csv' '"removable","there"'
  [[ $(mtype -i "${DISK}p1" ::/EFI/BOOT/BOOTX64.EFI 2>/dev/null) == /EFI/BOOT/BOOTX64.EFI ]]
}

@test 'where there is no room for the entry, the dumps of crashes make it; else they stay' {
  esp "$DISK" /EFI/acme/grubx64.efi
  on_machine touch /sys/firmware/efi/efivars/dump-type0-1-1-1600000000-C-cfc8fc79-be2e-4ddc-97f0-9f98bfe298a0
  boot
  answer '.cleared | length' 0
  : >"$FIRMWARE/entries"
  touch "$FIRMWARE/full"
  boot
  ((status == 0))
  answer '[.verdict, (.cleared | length)] | @csv' '"set",1'
}

@test 'an entry that the firmware took and then does not show is a failure' {
  esp "$DISK" /EFI/acme/grubx64.efi
  touch "$FIRMWARE/forgetful"
  boot
  ((status != 0))
  [[ $(jq -r ._error.msg <<<"$output") == *'does not show it'* ]]
}

@test 'a node that was booted by a BIOS is left alone' {
  esp "$DISK" /EFI/acme/grubx64.efi
  on_machine umount /sys/firmware/efi/efivars
  on_machine umount /sys/firmware
  boot
  ((status == 0))
  answer .verdict left-alone
  [[ ! -e $FIRMWARE/calls ]]
}

@test 'on a node that was booted by UEFI, a disk without an EFI system partition is told, and nothing is changed' {
  boot
  answer ._error.kind image/not-uefi
  sfdisk --quiet "$DISK" <<<$'label: gpt\nsize=20M, type=linux'
  boot
  ((status != 0))
  answer ._error.kind image/not-uefi
  [[ ! -e $FIRMWARE/calls ]]
}

@test 'a disk in use is refused' {
  esp "$DISK" /EFI/acme/grubx64.efi
  mkfs.ext4 -q "${DISK}p2"
  on_machine mount "${DISK}p2" /mnt
  boot
  ((status != 0))
  [[ $(jq -r ._error.msg <<<"$output") == *'is mounted on /mnt'* ]]
}

@test 'with --noop nothing is changed, and the plan is told' {
  esp "$DISK" /EFI/acme/grubx64.efi
  boot _noop=true
  ((status == 0))
  answer '[.verdict, .label] | @csv' '"would-set","Ur: acme"'
  changed_nothing
}

@test 'it starts jq a few times' {
  esp "$DISK" /EFI/acme/grubx64.efi
  starts_jq_at_most 7 boot _noop=true
  answer .verdict would-set
  boot
  starts_jq_at_most 10 boot
  answer .verdict unchanged
}
