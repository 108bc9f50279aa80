#!/usr/bin/env bats
# disk::erase on drives of every kind, arrays and volumes, from the ramdisk that the task is made for. Each carries a
# secret, and what counts is what this host finds in the drives' images afterwards: it believes neither the task nor
# the tools that it calls.

load vm

readonly secret=the-secret-of-the-last-owner megabytes=64

plant() { # <name>: in an image, at the start, in the middle and at the end
  local at
  truncate --size "${megabytes}M" "$MACHINES/$1.img"
  for at in 0 $((megabytes << 19)) $(((megabytes << 20) - ${#secret})); do
    printf '%s' "$secret" | dd of="$MACHINES/$1.img" bs=64k oflag=seek_bytes seek="$at" conv=notrunc status=none
  done
}

setup_file() {
  load_ramdisk full
  local name
  for name in ns1 ns2 scsi ide fourk md1 md2 lvm locked; do plant "$name"; done
  # shellcheck disable=SC2054 # QEMU's commas
  attached=(-device nvme,serial=NVME,id=nvme -device virtio-scsi-pci)
  attach ns1 0 nvme-ns,bus=nvme
  attach ns2 0 nvme-ns,bus=nvme
  attach scsi 0 scsi-hd,serial=SCSI
  attach fourk 0 scsi-hd,serial=FOURK,logical_block_size=4096,physical_block_size=4096
  attach ide 0 ide-hd,serial=IDE
  attach md1 0 virtio-blk-pci,serial=MD1
  attach md2 0 virtio-blk-pci,serial=MD2
  attach lvm 0 virtio-blk-pci,serial=LVM
  MEMORY=1G boot 1 -drive "file=$MACHINES/locked.img,format=raw,if=none,id=locked,readonly=on" -device scsi-hd,drive=locked,serial=LOCKED
  await 300 node 1 '.Disks | length == 9'
  on_node "mdadm --create /dev/md42 --run --quiet --level=1 --metadata=1.2 --raid-devices=2 --assume-clean $(disk MD1) $(disk MD2)
    printf '%s' '$secret' | dd of=/dev/md42 bs=64k oflag=seek_bytes seek=33M conv=notrunc,fsync status=none
    export DM_DISABLE_UDEV=1
    vgcreate --quiet owner $(disk LVM) && lvcreate --quiet --yes --zero n --size 20M --name data owner
    printf '%s' '$secret' | dd of=/dev/owner/data bs=64k oflag=seek_bytes seek=11M conv=notrunc,fsync status=none"
  for name in ns1 scsi md2 lvm; do holds_secret "$name"; done
}

teardown() { tell_consoles; }

teardown_file() { power_off_all; }

on_node() { # <command>
  ur exec -n "$(uuid_of 1)" "$1"
}

disk() { # <serial>: prints the device that has it
  printf '/dev/%s' "$(node 1 ".Disks | to_entries[] | select(.value.Serial == \"$1\") | .key")"
}

holds_secret() { # <name>
  grep -qaF "$secret" "$MACHINES/$1.img"
}

erase() { # [<argument>…]: sets certificate to what the task answers; its exit status
  local status=0
  ur run -n "$(uuid_of 1)" -J disk::erase level=clear samples=6 "$@" >"$BATS_TEST_TMPDIR/run" || status=$?
  certificate=$(jq -c '.result.stdout | fromjson' "$BATS_TEST_TMPDIR/run")
  printf '%s\n' "$certificate"
  return "$status"
}

@test 'a drive that is write-protected is refused, and nothing is harmed' {
  run ur run -n "$(uuid_of 1)" --yes disk::erase level=clear 'select=[{"serial":"LOCKED"},{"serial":"SCSI"}]' 'confirm_serials=["LOCKED","SCSI"]'
  ((status == 3))
  holds_secret locked
  holds_secret scsi
}

@test 'what is erased is gone from every drive, array and volume; what is not is told' {
  local serials name
  erase --noop
  serials=$(jq -c '[.disks[] | select(.verdict == "would-erase") | .serial] | unique' <<<"$certificate")
  run erase --yes "confirm_serials=$serials"
  printf '%s\n' "$output"
  ((status == 0))
  [[ $(jq '[.disks[] | select(.verdict == "erased")] | length' <<<"${lines[-1]}") == 8 ]]
  for name in ns1 ns2 scsi ide fourk md1 md2 lvm; do
    # shellcheck disable=SC2314 # run reports the status
    run holds_secret "$name"
    ((status == 1)) || { printf 'the secret is on %s yet\n' "$name" && return 1; }
  done
  holds_secret locked
}
