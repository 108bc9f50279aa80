#!/usr/bin/env bats
# disk::setup takes a machine with blank disks into service, and finds its own work again after every boot: the ramdisk
# itself assembles no array and activates no volume.

load vm
load tasks

setup_file() {
  load_ramdisk full
  attach mirror1 512M virtio-blk-pci,serial=MIRROR1
  attach mirror2 512M virtio-blk-pci,serial=MIRROR2
  attached+=(-device 'nvme,serial=SCRATCH,id=nvme')
  attach scratch 128M nvme-ns,bus=nvme
  attach spare 64M virtio-blk-pci,serial=SPARE
  # Somebody's: it is made here, so that no task can have had a hand in it.
  truncate --size 64M "$MACHINES/foreign.img"
  mkfs.ext4 -q -L precious "$MACHINES/foreign.img"
  sha256sum "$MACHINES/foreign.img" >"$MACHINES/foreign.sum"
  attach foreign 0 virtio-blk-pci,serial=FOREIGN
  MEMORY=1G boot 1
  await 300 node 1 '.Disks | length == 5'
}

teardown() { tell_consoles; }

teardown_file() { power_off_all; }

# A mirror with volumes on it, two kinds of file systems, and swap; an NVMe drive without any of it.
readonly layout='{
  "disks": {"one": {"serial": "MIRROR1"}, "two": {"serial": "MIRROR2"}, "three": {"serial": "SCRATCH"}},
  "partitions": [
    {"disk": "one", "name": "efi", "size": "16M", "type": "esp"},
    {"disk": "one", "name": "half-1", "size": "rest", "type": "raid"},
    {"disk": "two", "name": "other", "size": "16M"},
    {"disk": "two", "name": "half-2", "size": "rest", "type": "raid"}],
  "arrays": [{"name": "system", "level": "raid1", "on": ["half-1", "half-2"]}],
  "groups": [{"name": "vg0", "on": ["system"], "volumes": [
    {"name": "var", "size": "320M"}, {"name": "swap", "size": "16M"}, {"name": "my-logs", "size": "rest"}]}],
  "filesystems": [
    {"on": "efi", "type": "vfat", "label": "EFI"},
    {"on": "vg0/var", "type": "xfs", "label": "var", "mount": "/srv", "options": "noatime"},
    {"on": "vg0/my-logs", "type": "ext4", "mount": "/srv/logs"},
    {"on": "vg0/swap", "type": "swap"},
    {"on": "three", "type": "ext4", "label": "scratch", "mount": "/scratch"}]}'

setup_disks() { # [<argument>…]: sets status, and output to the result
  run_task disk::setup "layout=${wanted:-$layout}" "$@"
}

is_blank() { # <name>: whether this host finds nothing but zeros in the disk's image
  cmp -n "$(stat --format %s "$MACHINES/$1.img")" "$MACHINES/$1.img" /dev/zero
}

mounts() { # what is mounted from disks
  diff - <(on_node 'findmnt --real --noheadings --list --output TARGET,SOURCE,FSTYPE,LABEL | grep /dev/ | tr -s " " | sed "s/ \$//" | sort') <<'END'
/scratch /dev/nvme0n1 ext4 scratch
/srv /dev/mapper/vg0-var xfs var
/srv/logs /dev/mapper/vg0-my--logs ext4
END
}

@test 'with --noop it is told what would be made, and the disks stay blank' {
  setup_disks --noop
  ((status == 0))
  answer '[.disks[].verdict] | unique | join(" ")' would-build
  answer '[.states | del(.["table three"])[]] | unique | join(" ")' absent
  is_blank mirror1
  is_blank mirror2
  is_blank scratch
}

@test 'a disk that holds something else is refused, and it and the blank ones stay as they are' {
  wanted=$(jq -c '.disks.three = {serial: "FOREIGN"}' <<<"$layout") setup_disks
  ((status == 3))
  answer ._error.kind disk/refused
  answer '._error.msg | contains("it holds ext4 precious")' true
  sha256sum --check --quiet "$MACHINES/foreign.sum"
  is_blank mirror1
}

@test 'blank disks get a mirror, volumes, file systems and mounts, and data can be kept there' {
  setup_disks
  ((status == 0))
  answer '[.disks[].verdict] | unique | join(" ")' built
  answer '[.states[]] | unique | join(" ")' right
  mounts
  on_node 'echo kept >/srv/kept && echo logged >/srv/logs/kept && echo scratched >/scratch/kept && sync'
}

@test 'a second run changes nothing' {
  setup_disks
  ((status == 0))
  answer '[.disks[].verdict] | unique | join(" ")' unchanged
  answer '.made | length' 0
}

@test 'after a reboot all of it is found and mounted again, and so are the data' {
  local before
  before=$(node 1 '."Boot ID"')
  ur run -n "$(uuid_of 1)" power::reboot
  await 600 node 1 ".\"Boot ID\" != \"$before\""
  # Nothing has been started behind the task's back.
  [[ $(on_node 'ls /sys/block | grep -E "^(md|dm-)" | wc -l; grep -c /dev/vd /proc/mounts') == $'0\n0' ]]
  setup_disks --noop
  answer '[.disks[].verdict] | unique | join(" ")' unchanged
  answer '.states["array system", "group vg0", "filesystem vg0/var", "mount vg0/var"]' $'right\nhidden\nhidden\nabsent'
  setup_disks
  ((status == 0))
  answer '.made | join(", ")' 'mount three, mount vg0/var, mount vg0/my-logs'
  answer '[.disks[].verdict] | unique | join(" ")' unchanged
  answer '[.states[]] | unique | join(" ")' right
  mounts
  [[ $(on_node 'cat /srv/kept /srv/logs/kept /scratch/kept') == $'kept\nlogged\nscratched' ]]
  setup_disks
  answer '.made | length' 0
}

@test 'disks that the layout does not name have not been written to' {
  is_blank spare
  sha256sum --check --quiet "$MACHINES/foreign.sum"
}
