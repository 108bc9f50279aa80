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

# A drive whose sectors in the middle, where the secret is, can be read and not written.
worn() { # <name>
  local what
  for what in write write-zeroes discard; do
    printf '[inject-error]\nevent = "none"\niotype = "%s"\nerrno = "5"\nsector = "%d"\n' "$what" $((megabytes << 10))
  done >"$MACHINES/$1.blkdebug"
  attached+=(-drive "file=blkdebug:$MACHINES/$1.blkdebug:$MACHINES/$1.img,format=raw,if=none,id=$1,werror=report"
    -device "scsi-hd,drive=$1,serial=${1^^}")
}

setup_file() {
  load_ramdisk full
  local name
  for name in ns1 ns2 scsi ide fourk md1 md2 lvm locked worn; do plant "$name"; done
  # shellcheck disable=SC2054 # QEMU's commas
  attached=(-device nvme,serial=NVME,id=nvme -device virtio-scsi-pci)
  attach ns1 0 nvme-ns,bus=nvme
  attach ns2 0 nvme-ns,bus=nvme
  attach scsi 0 scsi-hd,serial=SCSI
  attach ide 0 ide-hd,serial=IDE
  attach md1 0 virtio-blk-pci,serial=MD1
  attach md2 0 virtio-blk-pci,serial=MD2
  attach lvm 0 virtio-blk-pci,serial=LVM
  # Slow until a test says otherwise, so that there is time for accidents.
  attached+=(-drive "file=$MACHINES/fourk.img,format=raw,if=none,id=fourk,throttling.bps-write=300000"
    -device 'scsi-hd,drive=fourk,serial=FOURK,logical_block_size=4096,physical_block_size=4096'
    -drive "file=$MACHINES/locked.img,format=raw,if=none,id=locked,readonly=on" -device 'scsi-hd,drive=locked,serial=LOCKED')
  worn worn
  MEMORY=1G boot 1
  await 300 node 1 '.Disks | length == 10'
  on_node "mdadm --create /dev/md42 --run --quiet --level=1 --metadata=1.2 --raid-devices=2 --assume-clean $(disk MD1) $(disk MD2)
    printf '%s' '$secret' | dd of=/dev/md42 bs=64k oflag=seek_bytes seek=33M conv=notrunc,fsync status=none
    export DM_DISABLE_UDEV=1
    vgcreate --quiet owner $(disk LVM) && lvcreate --quiet --yes --zero n --size 20M --name data owner
    printf '%s' '$secret' | dd of=/dev/owner/data bs=64k oflag=seek_bytes seek=11M conv=notrunc,fsync status=none"
  for name in ns1 scsi md2 lvm; do holds_secret "$name"; done
}

teardown() {
  local pid
  for pid in ${overheard-} ${run_pid-}; do kill "$pid" 2>/dev/null || true; done
  tell_consoles
}

teardown_file() { power_off_all; }

on_node() { # <command>
  ur exec --discover 5 --wait 300 -n "$(uuid_of 1)" "$1"
}

disk() { # <serial>: prints the device that has it
  printf '/dev/%s' "$(node 1 ".Disks | to_entries[] | select(.value.Serial == \"$1\") | .key")"
}

holds_secret() { # <name>
  grep -qaF "$secret" "$MACHINES/$1.img"
}

is_clean() { # <name>…
  local name
  for name; do
    if holds_secret "$name"; then
      printf 'the secret is still on %s\n' "$name" >&2
      return 1
    fi
  done
}

erase() { # <serials, JSON> [<argument>…]: prints what the task answers; its exit status
  local status=0
  ur run --discover 5 -n "$(uuid_of 1)" -J --yes --wait 600 disk::erase samples=6 "confirm_serials=$1" \
    "select=$(jq -c 'map({serial: .})' <<<"$1")" "${@:2}" >"$BATS_TEST_TMPDIR/run" || status=$?
  jq -r '.result.stdout' "$BATS_TEST_TMPDIR/run"
  return "$status"
}

verdicts() { # <answer>: prints the disks of its certificate, and how each fared
  jq -r '(.disks // ._error.details.disks)[] | "\(.serial) \(.verdict) \(.method // "")"' <<<"$1"
}

@test 'a drive that is write-protected is refused, and nothing is harmed' {
  run erase '["LOCKED", "SCSI"]' level=clear
  ((status == 3))
  holds_secret locked
  holds_secret scsi
}

@test 'here, too, FORMAT UNIT and SECURITY ERASE are claimed to have succeeded, and have erased nothing' {
  on_node "sg_format --format --quick --wait $(disk SCSI) && hdparm --user-master u --security-set-pass ur $(disk IDE) &&
    hdparm --user-master u --security-erase ur $(disk IDE)"
  holds_secret scsi
  holds_secret ide
}

@test 'a level that a drive has no command for is refused, and nothing is harmed' {
  run erase '["SCSI", "IDE", "NVME"]' level=purge
  ((status == 3))
  [[ $output == *'no method of level purge'* ]]
  holds_secret scsi
  holds_secret ide
  holds_secret ns1
}

@test 'a method that a drive does not offer is not tried because somebody asks for it' {
  run erase '["IDE"]' level=clear 'methods={"ata":["ata-secure-erase"]}'
  ((status == 3))
  holds_secret ide
}

@test 'purge: the controller formats all its namespaces, and no other drive is touched' {
  erase '["NVME"]' level=purge
  is_clean ns1 ns2
  holds_secret scsi
  holds_secret md1
}

@test 'the agent is killed and the network cut in the middle: what is erased is gone, what is not is told, once' {
  local request=erase-$BATS_TEST_NUMBER-$$ serials='["SCSI","IDE","FOURK","MD1","MD2","LVM","WORN"]' answer
  ur snoop -J "ur.#.$request" >"$BATS_TEST_TMPDIR/heard" 3>&- &
  overheard=$!
  erase "$serials" level=clear --request "$request" >"$BATS_TEST_TMPDIR/answer" 3>&- &
  run_pid=$!
  under_way() { grep -q '"percent":[1-9]' "$BATS_TEST_TMPDIR/heard"; }
  await 300 under_way
  # The oldest is the agent; those with a larger id watch the jobs.
  on_node 'kill -9 "$(pgrep -o -x ur-agent)"' || true
  back() { (($(grep -ac 'ur-agent is up' "$MACHINES/1/console") == 2)); }
  await 60 back
  monitor 1 'set_link net0 off'
  holds_secret fourk
  # It goes on unseen, to the end: this host's own view of the slowest drive.
  monitor 1 'block_set_io_throttle fourk 0 0 0 0 0 0'
  await 300 is_clean fourk
  [[ $(grep -c execute-reply "$BATS_TEST_TMPDIR/heard") == 0 ]]
  monitor 1 'set_link net0 on'
  local status=0
  wait "$run_pid" || status=$?
  answer=$(<"$BATS_TEST_TMPDIR/answer")
  printf '%s\n' "$answer"
  ((status == 3))
  local serial
  for serial in FOURK IDE LVM MD1 MD2 SCSI; do verdicts "$answer" | grep -q "^$serial erased "; done
  verdicts "$answer" | grep -q '^WORN failed'
  is_clean scsi ide fourk md1 md2 lvm
  holds_secret worn
  holds_secret locked
  [[ $(grep -c "started request=$request" "$MACHINES/1/console") == 1 ]]
  [[ $(jq -c 'select(.key | startswith("ur.execute-reply"))' "$BATS_TEST_TMPDIR/heard" | wc -l) == 1 ]]
}
