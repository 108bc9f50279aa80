#!/usr/bin/env bats
# The tasks after image::write, on a machine with real UEFI firmware that keeps its variables: image::boot, and what then
# starts; image::configdrive, as the ramdisk's kernel mounts it; image::rescue, by ssh from this host. The disks' files
# are looked at from outside, and the image's loader is a GRUB that says one sentence.

load vm
load deploy

readonly sentence='the loader of the image runs'

setup_file() {
  load_ramdisk full
  make_image "$MACHINES/image.img"
  truncate --size 400M "$MACHINES/fourk.img"
  SSH_PORT=$((20000 + RANDOM % 10000))
  export SSH_PORT
  disks
  MEMORY=1G boot 1 \
    -nic "user,model=virtio-net-pci,mac=52:54:00:00:01:01,net=10.0.3.0/24,hostfwd=tcp:127.0.0.1:$SSH_PORT-:22"
  await 300 node 1 '."Firmware Type" == "uefi"'
}

teardown() { tell_consoles; }

teardown_file() { power_off_all; }

disks() { # for the machine that is powered on next
  # shellcheck disable=SC2054 # QEMU's commas
  attached=(-device virtio-scsi-pci)
  attach image 0 virtio-blk-pci,serial=IMAGE
  attach fourk 0 scsi-hd,serial=FOURK,logical_block_size=4096,physical_block_size=4096
  uefi 1
}

make_image() { # <file>: with an EFI system partition whose loader is in a directory of its maker, and nowhere else
  local work=$BATS_FILE_TMPDIR/image
  mkdir "$work"
  printf 'echo "%s"\nsleep 1000\n' "$sentence" >"$work/grub.cfg"
  grub-mkstandalone --format x86_64-efi --output "$work/grubx64.efi" --install-modules 'echo sleep normal configfile' \
    --fonts '' --locales '' --themes '' "boot/grub/grub.cfg=$work/grub.cfg"
  truncate --size 40M "$work/esp"
  mkfs.vfat "$work/esp" >/dev/null
  mmd -i "$work/esp" ::/EFI ::/EFI/acme
  mcopy -i "$work/esp" "$work/grubx64.efi" ::/EFI/acme/grubx64.efi
  truncate --size 300M "$1"
  sfdisk --quiet "$1" <<<$'label: gpt\nstart=2048, size=40M, type=uefi\nsize=50M, type=linux'
  dd if="$work/esp" of="$1" bs=1M seek=1 conv=notrunc status=none
}

@test 'the firmware takes an entry for the loader of the image, first in its order; run twice, nothing changes' {
  task 1 image::boot 'disk={"serial":"IMAGE"}'
  answer '[.verdict, .label, .loader] | @csv' '"set","Ur: acme","\EFI\acme\grubx64.efi"'
  answer '.order[0] == .entry' true
  answer '.nvram.used > 0' true
  task 1 image::boot 'disk={"serial":"IMAGE"}'
  answer .verdict unchanged
}

@test 'a config drive is mounted by a kernel: ISO 9660, and FAT on sectors of 4096 bytes' {
  task 1 image::configdrive 'disk={"serial":"IMAGE"}' 'confirm_serials=["IMAGE"]' user_data=hello
  answer '[.verdict, .filesystem, .mounted] | @csv' '"written","iso9660",true'
  fourk=$(node 1 '.Disks | to_entries[] | select(.value.Serial == "FOURK") | .key')
  ur exec -n "$(uuid_of 1)" "wipefs --all $(jq -r .partition <<<"$result")
    printf 'label: gpt\nsize=100M, type=linux\n' | sfdisk --quiet /dev/$fourk"
  task 1 image::configdrive 'disk={"serial":"FOURK"}' 'confirm_serials=["FOURK"]' user_data=hello
  answer '[.verdict, .filesystem, .mounted] | @csv' '"written","vfat",true'
}

@test 'a person logs in to the ramdisk by ssh, until the time is over' {
  ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/key"
  task 1 image::rescue seconds=60 "keys=[\"$(<"$BATS_TEST_TMPDIR/key.pub")\"]"
  answer .verdict open
  enter() {
    timeout 60 ssh -p "$SSH_PORT" -i "$BATS_TEST_TMPDIR/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o ConnectTimeout=30 \
      -o UserKnownHostsFile="$BATS_TEST_TMPDIR/known" -o LogLevel=ERROR rescue@127.0.0.1 "$@"
  }
  [[ $(enter 'id -u; cat /proc/sys/kernel/hostname') == 0* ]]
  ended() { [[ $(ur exec -n "$(uuid_of 1)" 'test -e /run/ur-rescue || echo over') == *over* ]]; }
  await 120 ended
  run enter true
  ((status != 0))
}

@test 'at its next start, without the ramdisk, the firmware starts the loader of the image' {
  power_off 1
  disks
  power_on 1
  await 180 on_console 1 "$sentence"
}
