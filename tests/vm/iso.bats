#!/usr/bin/env bats
# The image for virtual media, as each kind of firmware boots it.

load vm

setup_file() {
  load_ramdisk minimal
  local broker=${UR_AMQP_URL/127.0.0.1/10.0.2.2}
  boot/iso "$RAMDISK" "$MACHINES/ur.iso" "ur.amqp=$broker"
  power_on 1 -cdrom "$MACHINES/ur.iso"
  power_on 2 -cdrom "$MACHINES/ur.iso" -bios /usr/share/ovmf/OVMF.fd
  # As a USB stick: the same bytes on a disk.
  cp "$MACHINES/ur.iso" "$MACHINES/stick.img"
  attached=(-device qemu-xhci)
  attach stick 0 usb-storage
  power_on 3
}

teardown() { tell_consoles; }

teardown_file() { power_off_all; }

@test 'a BIOS boots it from a CD' {
  await 180 node 1 '."Firmware Type" == "bios"'
}

@test 'UEFI boots it from a CD' {
  await 180 node 2 '."Firmware Type" == "uefi"'
}

@test 'a BIOS boots it from a USB stick' {
  await 180 node 3 '."Firmware Type" == "bios"'
}
