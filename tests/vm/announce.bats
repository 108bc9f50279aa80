#!/usr/bin/env bats
# Machines that are powered on: each is known to the headnode by what it has, and tells its boots apart.

load vm

setup_file() {
  load_ramdisk minimal
  ur snoop -J 'ur.startup.#' >"$MACHINES/heard" 3>&- &
  printf '%s\n' "$!" >"$MACHINES/listener"
  attach one 64M virtio-blk-pci,serial=VIRTIO1
  boot 1 -nic user,model=e1000,mac=52:54:00:00:01:01
  attached=(-device 'nvme,serial=NVME2,id=nvme')
  attach first 64M nvme-ns,bus=nvme
  attach second 96M nvme-ns,bus=nvme
  ARGUMENTS='ip=eth0:dhcp vlan=vlan0005:eth0 ip=10.5.0.7:::24::vlan0005:none' boot 2
  attach ide 64M ide-hd,serial=IDE3
  attached+=(-device virtio-scsi-pci)
  attach scsi 64M scsi-hd,serial=SCSI3,logical_block_size=4096,physical_block_size=4096
  boot 3
}

teardown() { tell_consoles; }

teardown_file() {
  kill "$(<"$MACHINES/listener")"
  power_off_all
}

@test 'machines that are powered on together are all there' {
  await 120 are_there 3
  local number
  for number in 1 2 3; do
    await 30 node $number '."Network Interfaces"[] | select(."NIC Names" == ["admin"] and ."Link Status" == "up") | .ip4addr'
  done
  # A figure, no verdict: it is the host's as much as ours. The agent marks when a queue has taken its announcement.
  printf '# seconds from the kernel to ur.startup: %s\n' "$(ur exec -a -J ': >/run/now
    read -r up _ </proc/uptime
    stat -c %y /run/ur/announced /run/now | awk -v up="$up" \
      "{ split(\$2, time, \":\"); at[NR] = time[1] * 3600 + time[2] * 60 + time[3] } END { print up - at[2] + at[1] }"' \
    | jq -r '.result.stdout | rtrimstr("\n")' | paste -sd ' ')" >&3
  (($(grep -c startup "$MACHINES/heard") == 3))
}

@test 'a machine says which disks it has, whatever they are attached to' {
  await 30 node 1 '.Disks.vda.Serial == "VIRTIO1"'
  await 30 node 2 '.Disks | .nvme0n1.Serial == "NVME2" and has("nvme0n2")'
  await 30 node 3 '.Disks | to_entries | map(.value.Serial) | sort == ["IDE3", "SCSI3"]'
  await 30 node 3 '.Disks[] | select(.Serial == "SCSI3" and ."Logical Block Size" == 4096)'
}

@test 'a machine says which NICs it has, and which of them reaches the headnode' {
  node 1 '."Network Interfaces" | map(."MAC Address") | sort == ["52:54:00:00:00:01", "52:54:00:00:01:01"]'
  node 1 '[."Network Interfaces"[] | select(."NIC Names" == ["admin"])] | length == 1'
}

@test 'a VLAN is made on its link, and addressed by its own argument' {
  node 2 '."Virtual Network Interfaces".vlan0005 | .ip4addr == "10.5.0.7" and ."Host Interface" == "eth0"'
  ur exec -n "$(uuid_of 2)" 'cat /proc/net/vlan/vlan0005' | grep -q 'VID: 5\b'
}

@test 'a script that exits 113 reboots the machine, which then has another boot id' {
  local before
  before=$(node 1 '."Boot ID"')
  ur exec -n "$(uuid_of 1)" 'exit 113'
  await 120 node 1 ".\"Boot ID\" != \"$before\""
}

@test 'two machines with the same UUID are reported, not mistaken for one' {
  boot 4 -uuid "$(uuid_of 3)"
  await 120 are_there 4
  reported() { # whoever is slow may be missed once
    run ur nodes
    ((status == 1)) && [[ $output == *"$(uuid_of 3)"*52:54:00:00:00:03*52:54:00:00:00:04* ]]
  }
  await 60 reported
}
