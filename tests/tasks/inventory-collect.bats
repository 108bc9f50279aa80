#!/usr/bin/env bats
# inventory::collect, on this machine and on a made-up server: in a mount namespace whose /sys is a folder of files, with
# shims for the programs that would ask the hardware.

# shellcheck disable=SC2016 # programs for other shells

bats_require_minimum_version 1.5.0
load machine

setup() {
  ((EUID == 0)) || skip 'only root can give a program another /sys'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  SHIMS=$BATS_TEST_TMPDIR/shims
  mkdir "$SHIMS"
}

collect() { # [<parameter>=<value>…]: runs it on this machine
  run_task env "$@"
}

server() { # makes $SYS the /sys of a server
  local block
  cp -a "$BATS_TEST_DIRNAME/../fixtures/sysinfo/made-up-server" "$BATS_TEST_TMPDIR/root"
  SYS=$BATS_TEST_TMPDIR/root/sys
  mkdir "$SYS/class/block"
  for block in "$SYS"/block/*; do
    ln -s "../../block/${block##*/}" "$SYS/class/block/"
  done
}

put() { # <text> <file below /sys>
  mkdir -p "$(dirname "$SYS/$2")"
  printf '%b\n' "$1" >"$SYS/$2"
}

shim() { # <program>: makes it print what is on stdin, whatever it is asked
  cat >"$SHIMS/$1.says"
  printf '#!/bin/sh\ncat "$0.says"\nexit %d\n' "${2:-0}" >"$SHIMS/$1"
  chmod +x "$SHIMS/$1"
}

collect_on_server() { # [<parameter>=<value>…]
  run_task unshare --mount --propagation private sh -c '
    mount --bind "$1/sys" /sys
    for file in cpuinfo cmdline; do mount --bind "$1/proc/$file" "/proc/$file"; done
    shift
    exec "$@"' - "$BATS_TEST_TMPDIR/root" env "$@"
}

run_task() { # <command before it>
  status=0
  output=$("$@" PATH="$SHIMS:$PATH" PT__installdir="$SCRIPTS" bash "$SCRIPTS/inventory/tasks/collect.sh" 2>"$LOG" </dev/null) || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
}

collected() { # <jq expression>: fails, and shows the errors, unless it holds
  jq -e "$1" <<<"$output" >/dev/null
}

@test 'this machine is described without an error' {
  collect
  ((status == 0))
  answer '.errors | length' 0
  answer '.status.kernel' "$(uname -r)"
  answer '.cpu.threads' "$(nproc --all)"
  answer '.memory.total_kib' "$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)"
}

@test 'what the kernel was booted with is told without its secrets' {
  server
  printf 'quiet ur.amqp=amqp://node:hush@192.0.2.1 apikey=hush\n' >"$BATS_TEST_TMPDIR/root/proc/cmdline"
  collect_on_server 'PT_collectors=["status"]'
  answer .status.cmdline 'quiet ur.amqp=amqp://node:***@192.0.2.1 apikey=***'
}

@test 'the machine, its board, chassis and firmware are named as DMI does' {
  server
  collect_on_server
  answer '.system.product' SYS-1029U-TR4
  answer '.system.board.serial' OM16AS000001
  answer '.system.firmware.version' 3.3
  answer '.system.boot' uefi
}

@test 'sockets, cores and threads are counted apart, NUMA nodes are listed' {
  server
  put 0,2,4,6 devices/system/node/node0/cpulist
  put 'Node 0 MemTotal:       131072 kB' devices/system/node/node0/meminfo
  collect_on_server
  answer '.cpu | [.sockets, .cores, .threads] | @csv' 2,4,8
  answer '.numa[0] | [.node, .cpus, .memory_kib] | @csv' '0,"0,2,4,6",131072'
}

@test 'memory modules are read from SMBIOS, empty slots too, and corrected errors from EDAC' {
  server
  # 40 bytes, in the order of the specification: size 0x7fff sends to the extended size, 65536 MiB.
  mkdir -p "$SYS/firmware/dmi/entries/17-0" "$SYS/firmware/dmi/entries/17-1"
  printf '\x11\x28\x40\0\0\0\xfe\xff\x48\0\x40\0\xff\x7f\x09\0\x01\0\x1a\0\0\x80\x0c\x02\x03\x04\x05\0\0\0\x01\0\x75\x0b\0\0\0\0\0\0DIMM_A1\0S\xc3\xa4msung\0S4711\0Asset\0M393A4G43AB3\0\0' \
    >"$SYS/firmware/dmi/entries/17-0/raw"
  printf '\x11\x28\x41\0\0\0\xfe\xff\0\0\0\0\0\0\x09\0\x01\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0DIMM_A2\0\0' \
    >"$SYS/firmware/dmi/entries/17-1/raw"
  put 7 devices/system/edac/mc/mc0/ce_count
  put 0 devices/system/edac/mc/mc0/ue_count
  collect_on_server
  answer '.memory.modules[0] | [.locator, .manufacturer, .serial, .part, .type, .mib, .rated_mts, .mts] | @csv' \
    '"DIMM_A1","Sämsung","S4711","M393A4G43AB3","DDR4",65536,3200,2933'
  answer '.memory.modules[1] | [.locator, .mib] | @csv' '"DIMM_A2",0'
  answer '.memory.installed_mib' 65536
  answer '.memory.controllers[0].corrected' 7
}

@test 'disks have their identity, sector sizes and firmware' {
  server
  put 4096 block/sda/queue/physical_block_size
  put E004 block/sda/device/rev
  put 2B2QEXM7 block/nvme0n1/device/firmware_rev
  collect_on_server 'PT_collectors=["disks"]'
  collected '.disks[] | select(.name == "/dev/sda") | .sector == 512 and .physical_sector == 4096 and .firmware == "E004" and .serial != ""'
  collected '.disks[] | select(.name == "/dev/nvme0n1") | .firmware == "2B2QEXM7" and .wwn != ""'
}

@test 'cards, bonds and VLANs are listed with their links, tunnels are not' {
  server
  put 1 class/net/eth0/carrier
  put 0x8086 class/net/eth0/device/vendor
  collect_on_server 'PT_collectors=["nics"]'
  collected '.nics[] | select(.name == "eth0") | .carrier and .vendor == "0x8086" and .speed_mbps > 0'
  collected '.nics[] | select(.name == "vlan10") | .on == "bond0"'
  collected '.nics[] | select(.name == "eth2") | .permanent_mac'
  collected '[.nics[].name] | inside(["bond0", "eth0", "eth1", "eth2", "eth3", "vlan10"])'
}

@test 'PCI devices have the width and speed of their links, USB devices their names' {
  server
  put 0x10de bus/pci/devices/0000:3b:00.0/vendor
  put 8 bus/pci/devices/0000:3b:00.0/current_link_width
  put 16 bus/pci/devices/0000:3b:00.0/max_link_width
  put -1 bus/pci/devices/0000:3b:00.0/numa_node
  put 0781 bus/usb/devices/1-4/idVendor
  put 'Ultra Fit' bus/usb/devices/1-4/product
  mkdir -p "$SYS/bus/usb/devices/1-4:1.0"
  collect_on_server 'PT_collectors=["pci","usb"]'
  answer '.pci[0] | [.vendor, .link_width, .max_link_width, has("numa_node")] | @csv' '"0x10de",8,16,false'
  answer '.usb | map(.name) | join(",")' 'Ultra Fit'
}

@test 'a TPM is named with its version' {
  server
  put 2 class/tpm/tpm0/tpm_version_major
  collect_on_server 'PT_collectors=["tpm"]'
  answer '.tpm[0] | [.name, .version] | @csv' '"tpm0","2"'
}

@test 'a drive that says it is failing is failing, though smartctl exits with a mere flag' {
  server
  shim smartctl 8 <<<'{"smartctl":{"exit_status":8},"smart_status":{"passed":false},"temperature":{"current":31}}'
  collect_on_server 'PT_collectors=["health"]'
  answer '[.health[].verdict] | unique | join(",")' failing
  answer '.health[0].temperature' 31
  answer '.errors | length' 0
}

@test 'flags of the past do not make a good drive bad' {
  server
  shim smartctl 64 <<<'{"smartctl":{"exit_status":64},"smart_status":{"passed":true}}'
  collect_on_server 'PT_collectors=["health"]'
  answer '[.health[].verdict] | unique | join(",")' good
}

@test 'failed self-tests, media errors and a spare used up are wear' {
  local report
  server
  for report in '{"smartctl":{"exit_status":128},"smart_status":{"passed":true}}' \
    '{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"critical_warning":0,"media_errors":3}}' \
    '{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"critical_warning":0,"available_spare":9,"available_spare_threshold":10}}' \
    '{"smart_status":{"passed":true},"ata_smart_attributes":{"table":[{"id":197,"raw":{"value":8}}]}}'; do
    shim smartctl <<<"$report"
    collect_on_server 'PT_collectors=["health"]'
    answer '[.health[].verdict] | unique | join(",")' worn
  done
}

@test 'a drive that cannot be asked is unknown, never good, and the errors say why' {
  server
  shim smartctl 2 <<<'Smartctl open device: /dev/sda failed: No such device'
  collect_on_server 'PT_collectors=["health"]'
  answer '[.health[].verdict] | unique | join(",")' unknown
  collected '.errors | length > 0 and all(.msg | contains("No such device"))'
}

@test 'without smartctl the NVMe drives are asked through nvme, and the others are named as not asked' {
  server
  ! command -v smartctl || skip 'smartctl is installed here'
  shim nvme <<<'{"critical_warning":4,"temperature":310,"avail_spare":100,"spare_thresh":10,"percent_used":3,"media_errors":0}'
  collect_on_server 'PT_collectors=["health"]'
  collected '.health[] | select(.path == "/dev/nvme0n1") | .verdict == "failing" and .temperature == 37'
  collected '.errors[] | select(.msg | contains("smartmontools"))'
}

@test 'a BMC is described with the channels it has, and none is null' {
  server
  collect_on_server 'PT_collectors=["bmc"]'
  answer .bmc null
  cat >"$SHIMS/ipmitool" <<'SHIM'
#!/bin/sh
case $* in
  'mc info') printf 'Device ID                 : 32\nFirmware Revision         : 4.22\nIPMI Version              : 2.0\n' ;;
  'lan print 3') printf 'IP Address Source       : DHCP Address\nIP Address              : 192.0.2.9\nMAC Address             : 02:00:00:00:00:09\n' ;;
  *) echo 'Invalid channel' >&2; exit 1 ;;
esac
SHIM
  chmod +x "$SHIMS/ipmitool"
  run_task unshare --mount --propagation private sh -c '
    mount -t tmpfs none /dev && mknod /dev/null c 1 3 && ln -s /proc/self/fd /dev/fd && touch /dev/ipmi0
    exec "$@"' - env 'PT_collectors=["bmc"]'
  answer '.bmc | [.firmware, .lan[0].channel, .lan[0].address, .lan[0].mac] | @csv' '"4.22",3,"192.0.2.9","02:00:00:00:00:09"'
}

@test 'what a switch says by LLDP is heard, raw and decoded' {
  command -v tcpdump >/dev/null || skip 'tcpdump is not installed'
  server
  put 1 class/net/eth0/carrier
  # eth0 of a network namespace of its own; its other end speaks as a switch would, until the task has ended.
  run_task unshare --net --mount --propagation private bash -c '
    ip link add eth0 type veth peer name switch && ip link set eth0 up && ip link set switch up
    mount --bind "$1" /sys
    python3 - switch <<"SWITCH" &
import socket, sys, time
def tlv(kind, value):
    return bytes([kind << 1 | len(value) >> 8, len(value) & 255]) + value
frame = (bytes.fromhex("0180c200000e" "02000000000a" "88cc") + tlv(1, bytes([4, 2, 0, 0, 0, 0, 10])) + tlv(2, b"\x05Eth1/7")
         + tlv(3, b"\x00\x78") + tlv(5, "leaf-köln".encode()) + tlv(6, b"\xe2\x82\xac \xff \xc3(") + tlv(127, b"\x00\x80\xc2\x01\x00\x2a") + tlv(0, b""))
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
    s.bind((sys.argv[1], 0))
    while True:
        s.send(frame)
        time.sleep(0.1)
SWITCH
    speaker=$!
    shift
    "$@"
    code=$?
    kill "$speaker"
    exit "$code"' - "$SYS" env 'PT_collectors=["lldp"]' PT_lldp_seconds=20
  answer '.lldp[0] | [.interface, .chassis, .port, .switch, .vlan] | @csv' '"eth0","02:00:00:00:00:0a","Eth1/7","leaf-köln",42'
  # What is no UTF-8 is told to be none.
  answer '.lldp[0].switch_description' '€ � �('
  collected '.lldp[0].raw | length == 6 and .[0].hex == "0402000000000a"'
}

@test 'a collector that fails costs only its own part' {
  server
  rm "$BATS_TEST_TMPDIR/root/proc/cpuinfo"
  touch "$BATS_TEST_TMPDIR/root/proc/cpuinfo"
  put 'no number' block/sda/size
  collect_on_server 'PT_collectors=["disks","tpm","system"]'
  ((status == 0))
  answer '.errors | map(.collector) | join(",")' disks
  answer 'has("disks")' false
  answer '.system.product' SYS-1029U-TR4
}

@test 'an unknown collector is an error that lists those there are' {
  collect 'PT_collectors=["cpus"]'
  ((status != 0))
  [[ $output == *'no collector cpus'*numa* ]]
}

@test 'jq, which is slow to start, is started 8 times at most, on a server too' {
  starts_jq_at_most 8 collect
  answer '.errors | length' 0
  server
  starts_jq_at_most 8 collect_on_server
  collected '.disks | length > 1'
}
