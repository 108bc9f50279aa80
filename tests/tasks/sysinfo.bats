#!/usr/bin/env bats
# sysinfo.sh, on made-up and copied machines, and on this one. Every answer is asked of every shell there is.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031

setup_file() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  export SCRIPT=$PWD/scripts/ur/tasks/sysinfo.sh
  export FIXTURES=$PWD/tests/fixtures/sysinfo
}

setup() {
  ROOT=$BATS_TEST_TMPDIR/root
  SHELLS=(dash bash)
  if command -v busybox >/dev/null; then SHELLS+=('busybox sh'); fi
}

machine() { # <fixture>: makes $ROOT a copy of it, which a test may change
  cp -a "$FIXTURES/$1" "$ROOT"
}

sysinfo() { # runs it; all shells must give the same, and complain about nothing
  local shell first=
  for shell in "${SHELLS[@]}"; do
    # shellcheck disable=SC2086 # "busybox sh" is two words
    json=$(UR_SYSINFO_ROOT=$ROOT $shell "$SCRIPT" 2>"$BATS_TEST_TMPDIR/stderr")
    diff /dev/null "$BATS_TEST_TMPDIR/stderr"
    diff <(printf '%s' "${first:=$json}") <(printf '%s' "$json")
  done
  learn
}

learn() { # sets FACTS from $json, once for all lookups: Python takes its time to start
  local path value
  JSON=$json python3 -IS - >"$BATS_TEST_TMPDIR/facts" <<'EOF'
import json, os
def walk(path, value):
    print(path, json.dumps(value, ensure_ascii=False), sep="\t")
    if isinstance(value, dict):
        for key in value:
            walk(path + "|" + key, value[key])
walk("facts", json.loads(os.environ["JSON"]))
EOF
  declare -gA FACTS=()
  while IFS=$'\t' read -r path value; do FACTS["$path"]=$value; done <"$BATS_TEST_TMPDIR/facts"
}

fact() { # <key>...: prints what stands there, as JSON; nothing if there is no such key
  local path
  path=facts$(printf '|%s' "$@")
  printf '%s\n' "${FACTS["$path"]-}"
}

is() { # <expected JSON> <key>...: compares and, if they differ, shows both
  diff <(printf '%s\n' "$1") <(fact "${@:2}")
}

absent() { # <key>...
  is '' "$@"
}

die() { # <message>
  printf '%s\n' "$1"
  return 1
}

keys() { # <key>: prints the names in the object there
  local path names=()
  for path in "${!FACTS[@]}"; do
    [[ ${path%|*} != "facts|$1" ]] || names+=("${path##*|}")
  done
  printf '%s\n' "${names[@]}" | sort | paste -sd ' '
}

@test "busybox's shell is among those tried" {
  command -v busybox >/dev/null || skip 'busybox is not installed: only dash and bash were tried'
  [[ ${SHELLS[*]} == *busybox* ]]
}

@test "this machine has the facts every machine has, in SmartOS's types" {
  ROOT=
  sysinfo
  local key
  for key in 'Hostname' 'Live Image' 'System Type' 'Boot Time' 'MiB of Memory' 'Setup' 'CPU Virtualization'; do
    [[ $(fact "$key") == \"?*\" ]] || die "$key is no string: $(fact "$key")"
  done
  for key in 'CPU Total Cores' 'CPU Physical Cores'; do
    [[ $(fact "$key") == [1-9]* ]] || die "$key is no number: $(fact "$key")"
  done
  for key in 'Disks' 'Boot Parameters' 'Network Interfaces' 'Virtual Network Interfaces'; do
    [[ $(fact "$key") == '{'*'}' ]] || die "$key is no object: $(fact "$key")"
  done
}

@test "the answer is one JSON object, to others than ourselves" {
  machine made-up-server
  sysinfo
  python3 -m json.tool <<<"$json"
}

@test "the user nobody gets an answer too" {
  ((EUID == 0)) || skip 'only root can become nobody'
  json=$(setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "$(<"$SCRIPT")" 2>"$BATS_TEST_TMPDIR/stderr")
  diff /dev/null "$BATS_TEST_TMPDIR/stderr"
  learn
  is '"Linux"' 'System Type'
  [[ $(fact 'Hostname') == \"?*\" ]]
}

@test "a machine of which nothing can be read still has a host name" {
  mkdir "$ROOT"
  sysinfo
  [[ $(fact 'Hostname') == \"?*\" ]]
  is '"false"' 'Setup'
  is '{}' 'Disks'
  is '{}' 'Boot Parameters'
  is '{}' 'Network Interfaces'
}

@test "no program is needed at all" {
  machine made-up-server
  rm "$ROOT/sbin/ip"
  json=$(PATH=/nonexistent UR_SYSINFO_ROOT=$ROOT "$(command -v dash)" "$SCRIPT" 2>"$BATS_TEST_TMPDIR/stderr")
  diff /dev/null "$BATS_TEST_TMPDIR/stderr"
  learn
  is '"1700000000"' 'Boot Time'
  is '"node7"' 'Hostname'
  is '"10.0.0.7"' 'Network Interfaces' eth0 ip4addr
}

@test "DMI names the machine" {
  machine made-up-server
  sysinfo
  is '"Supermicro"' 'Manufacturer'
  is '"SYS-1029U-TR4"' 'Product'
  is '"A262345X7654321"' 'Serial Number'
  is '"091715D9"' 'SKU Number'
  is '"0123456789"' 'HW Version'
  is '"Family"' 'HW Family'
  is '"OM16AS000001"' 'Board Serial'
  is '"C1160AH00NF0001"' 'Chassis Serial'
  is '"3.3"' 'BIOS Version'
}

@test "the UUID is in lower case" {
  machine made-up-server
  sysinfo
  is '"00000000-0000-0000-0000-ac1f6b00000a"' 'UUID'
}

@test "a machine without DMI leaves out what only DMI knows" {
  machine microvm
  sysinfo
  absent 'UUID'
  absent 'Manufacturer'
  absent 'Firmware Type'
  is '"vm"' 'Hostname'
}

@test "an empty DMI string is an unknown fact" {
  machine made-up-server
  printf '   \n' >"$ROOT/sys/class/dmi/id/product_serial"
  : >"$ROOT/sys/class/dmi/id/product_uuid"
  sysinfo
  absent 'Serial Number'
  absent 'UUID'
}

@test "EFI firmware is told from a BIOS" {
  machine made-up-server
  sysinfo
  is '"uefi"' 'Firmware Type'
  rm -r "$ROOT/sys/firmware"
  sysinfo
  is '"bios"' 'Firmware Type'
}

@test "surrounding blanks are cut off, quotes and backslashes and tabs are escaped" {
  machine made-up-server
  printf '  a "b" \\c\td \t \n' >"$ROOT/sys/class/dmi/id/product_name"
  sysinfo
  is '"a \"b\" \\c\td"' 'Product'
}

@test "control characters are escaped" {
  machine made-up-server
  printf 'a\001b\033c\177\n' >"$ROOT/sys/class/dmi/id/product_name"
  sysinfo
  is '"a\u0001b\u001bc'$'\177''"' 'Product'
}

@test "UTF-8 is kept, whatever the locale" {
  machine made-up-server
  printf 'caf\303\251 \342\202\254 \360\237\230\200\n' >"$ROOT/sys/class/dmi/id/product_name"
  LC_ALL=C.UTF-8 sysinfo
  is '"café € 😀"' 'Product'
  LC_ALL=C sysinfo
  is '"café € 😀"' 'Product'
}

@test "bytes that are not UTF-8 are dropped" {
  machine made-up-server
  printf 'caf\303\251 x\377\200y\303\n' >"$ROOT/sys/class/dmi/id/product_name"
  printf '\377\377\377\377\n' >"$ROOT/sys/class/dmi/id/product_serial"
  sysinfo
  is '"café xy"' 'Product'
  absent 'Serial Number'
}

@test "sockets, cores and threads are counted apart" {
  machine made-up-server
  sysinfo
  is '2' 'CPU Sockets'
  is '4' 'CPU Physical Cores'
  is '8' 'CPU Total Cores'
  is '"Intel(R) Xeon(R) Gold 5217 CPU @ 3.00GHz"' 'CPU Type'
}

@test "without a topology every processor is a core" {
  machine made-up-server
  rm -r "$ROOT/sys/devices/system/cpu"
  sysinfo
  absent 'CPU Sockets'
  is '8' 'CPU Physical Cores'
  is '8' 'CPU Total Cores'
}

@test "the processor's virtualization is vmx, svm or none" {
  machine made-up-server
  sysinfo
  is '"vmx"' 'CPU Virtualization'
  sed -i 's/ vmx / svm /' "$ROOT/proc/cpuinfo"
  sysinfo
  is '"svm"' 'CPU Virtualization'
  sed -i 's/ svm / /' "$ROOT/proc/cpuinfo"
  sysinfo
  is '"none"' 'CPU Virtualization'
}

@test "a virtual machine says so" {
  machine microvm
  sysinfo
  is '"yes"' 'Hypervisor'
  mkdir -p "$ROOT/sys/hypervisor"
  echo xen >"$ROOT/sys/hypervisor/type"
  sysinfo
  is '"xen"' 'Hypervisor'
}

@test "a machine of iron has no hypervisor" {
  machine made-up-server
  sysinfo
  absent 'Hypervisor'
}

@test "memory, boot time and kernel are as the kernel tells" {
  machine made-up-server
  sysinfo
  is '"257562"' 'MiB of Memory'
  is '"1700000000"' 'Boot Time'
  is '"6.1.0-18-amd64"' 'Live Image'
  is '"#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)"' 'Kernel Version'
  is '"x86_64"' 'Kernel Architecture'
  is '"0b0c6e2b-4a59-4f5c-8f0e-5b3f5d3c2a11"' 'Boot ID'
}

@test "the distribution is found in either place of os-release" {
  machine made-up-server
  sysinfo
  is '"Debian GNU/Linux 12 (bookworm)"' 'Distribution'
  mkdir "$ROOT/etc"
  printf "ID='alpine'\nPRETTY_NAME=Alpine\n" >"$ROOT/etc/os-release"
  sysinfo
  is '"Alpine"' 'Distribution'
  is '"alpine"' 'Distribution ID'
}

@test "a node is set up when the setup state is complete" {
  machine made-up-server
  sysinfo
  is '"true"' 'Setup'
  printf '{"complete":false}' >"$ROOT/var/lib/setup.json"
  sysinfo
  is '"false"' 'Setup'
}

@test "the setup state may be in another file" {
  machine microvm
  printf '{"node_name":"x","complete":true}' >"$BATS_TEST_TMPDIR/state"
  export UR_SETUP_FILE=$BATS_TEST_TMPDIR/state
  sysinfo
  is '"true"' 'Setup'
}

@test "the setup state may be written with any blanks" {
  machine microvm
  export UR_SETUP_FILE=$BATS_TEST_TMPDIR/state
  printf '{\n  "note": "*",\n  "complete"\t:\n  true\n}\n' >"$UR_SETUP_FILE"
  sysinfo
  is '"true"' 'Setup'
  printf '{"complete" : false, "was": true}' >"$UR_SETUP_FILE"
  sysinfo
  is '"false"' 'Setup'
}

@test "whole disks are listed, of whatever transport" {
  machine made-up-server
  sysinfo
  [[ $(keys 'Disks') == 'nvme0n1 nvme1n1 sda sdb sdc' ]]
  is '"sas"' 'Disks' sda 'Transport'
  is '"sata"' 'Disks' sdb 'Transport'
  is '"usb"' 'Disks' sdc 'Transport'
  is '"nvme"' 'Disks' nvme0n1 'Transport'
  is '"nvme"' 'Disks' nvme1n1 'Transport'
}

@test "loop devices and compressed memory are no disks" {
  machine microvm
  [[ -e $ROOT/sys/block/loop0/size && -e $ROOT/sys/block/zram0/size ]]
  sysinfo
  [[ $(keys 'Disks') == vda ]]
  is '"virtio"' 'Disks' vda 'Transport'
}

@test "a network block device is a disk while it has a size" {
  machine made-up-server
  sysinfo
  absent 'Disks' nbd0
  echo 1953125 >"$ROOT/sys/block/nbd0/size"
  sysinfo
  is '1' 'Disks' nbd0 'Size in GB'
}

@test "an NVMe disk tells model, serial number and WWN" {
  machine made-up-server
  sysinfo
  is '"SAMSUNG MZQLB3T8HALS-00007"' 'Disks' nvme0n1 'Model'
  is '"S438NA0M500001"' 'Disks' nvme0n1 'Serial'
  is '"eui.0025385b91b0a1c2"' 'Disks' nvme0n1 'WWN'
  is '3840' 'Disks' nvme0n1 'Size in GB'
  is '4096' 'Disks' nvme0n1 'Logical Block Size'
  is 'false' 'Disks' nvme0n1 'Rotational'
}

@test "a SCSI disk tells model, serial number and WWN" {
  machine made-up-server
  sysinfo
  is '"ST300MP0006"' 'Disks' sda 'Model'
  is '"WAE0ABCD0000K000XXXX"' 'Disks' sda 'Serial'
  is '"naa.5000c500a1b2c3d7"' 'Disks' sda 'WWN'
  is '300' 'Disks' sda 'Size in GB'
  is 'true' 'Disks' sda 'Rotational'
  is 'false' 'Disks' sda 'Removable'
}

@test "a SCSI serial number is read whatever its length" {
  machine made-up-server
  printf '\0\200\0\012ABCDEFGHIJ' >"$ROOT/sys/block/sda/device/vpd_pg80"
  printf '\0\200\0\040%32s' 12345678 >"$ROOT/sys/block/sdb/device/vpd_pg80"
  sysinfo
  is '"ABCDEFGHIJ"' 'Disks' sda 'Serial'
  is '"12345678"' 'Disks' sdb 'Serial'
}

@test "a disk without a serial number is listed without one" {
  machine made-up-server
  sysinfo
  is '"Ultra Fit"' 'Disks' sdc 'Model'
  absent 'Disks' sdc 'Serial'
}

@test "boot parameters are the kernel's words" {
  machine made-up-server
  sysinfo
  is '"true"' 'Boot Parameters' quiet
  is '"two words"' 'Boot Parameters' note
  is '"west-1"' 'Datacenter Name'
  absent 'Boot Parameters' init_option
}

@test "of a boot parameter given twice the last counts" {
  machine made-up-server
  sysinfo
  is '"ttyS1,115200n8"' 'Boot Parameters' console
  [[ $json != *tty0* ]]
}

@test "a boot parameter may be quoted as a whole, and quotes may be left open" {
  machine made-up-server
  printf '"first=one  two" bare a\\b=c* last="three four\n' >"$ROOT/proc/cmdline"
  sysinfo
  is '{"first": "one  two", "bare": "true", "a\\b": "c*", "last": "three four"}' 'Boot Parameters'
}

@test "what looks like a boot parameter between quotes is none" {
  machine made-up-server
  printf 'a=1 note="see a=2 -- a b" "b=3 c=4" c=5 quiet odd="x""c=6 quiet y" -- c=7\n' >"$ROOT/proc/cmdline"
  sysinfo
  is '{"a": "1", "note": "see a=2 -- a b", "b": "3 c=4", "c": "5", "quiet": "true", "odd": "x\"\"c=6 quiet y"}' 'Boot Parameters'
}

@test "of a boot parameter given twice the last counts, quoted or not" {
  machine made-up-server
  printf 'a=1 "b=2 3" b=4 "a=5 6" b\n' >"$ROOT/proc/cmdline"
  sysinfo
  is '{"a": "5 6", "b": "true"}' 'Boot Parameters'
}

@test "without sed no boot parameter is told but those that the facts are made of" {
  machine made-up-server
  mkdir "$BATS_TEST_TMPDIR/no-programs"
  printf 'BOOTIF=01-ac-1f-6b-00-00-0b apikey=hush ur.datacenter=west-1 quiet\n' >"$ROOT/proc/cmdline"
  json=$(UR_SYSINFO_ROOT=$ROOT PATH=$BATS_TEST_TMPDIR/no-programs /bin/dash "$SCRIPT" 2>/dev/null)
  learn
  is '"***"' 'Boot Parameters' apikey
  is '"west-1"' 'Datacenter Name'
  is '["admin"]' 'Network Interfaces' eth1 'NIC Names'
}

@test "the last line of os-release may lack its end" {
  machine made-up-server
  mkdir -p "$ROOT/etc"
  printf 'ID=made-up\nPRETTY_NAME="Made up"' >"$ROOT/etc/os-release"
  sysinfo
  is '"Made up"' 'Distribution'
}

@test "without its boot parameter a datacenter has no name" {
  machine microvm
  sysinfo
  absent 'Datacenter Name'
}

@test "the broker's password does not appear" {
  machine made-up-server
  sysinfo
  is '"guest:***:10.0.0.2:5672"' 'Boot Parameters' rabbitmq
  is '"amqp://ur:***@broker:5672/vhost"' 'Boot Parameters' ur.amqp
  [[ $json != *cret* && $json != *w0rd* && $json != *p@ss* ]]
}

@test "a password does not appear in a shape that was not foreseen either" {
  machine made-up-server
  printf '%s ' 'rabbitmq=u1:hidden' 'ur.amqp=u2:hidden@host' 'root=http://u3:hidden@host/image' \
    'my.Password=hidden' 'join-token=hidden' >"$ROOT/proc/cmdline"
  sysinfo
  is '"u1:***"' 'Boot Parameters' rabbitmq
  is '"u2:***@host"' 'Boot Parameters' ur.amqp
  is '"http://u3:***@host/image"' 'Boot Parameters' root
  [[ $json != *hidden* ]]
}

@test "a broker without a password is shown as it is" {
  machine made-up-server
  printf 'rabbitmq=host ur.amqp=amqp://host:5672/vhost\n' >"$ROOT/proc/cmdline"
  sysinfo
  is '{"rabbitmq": "host", "ur.amqp": "amqp://host:5672/vhost"}' 'Boot Parameters'
}

@test "the interface of BOOTIF is the admin one, in either case" {
  machine made-up-server
  sysinfo
  is '["admin"]' 'Network Interfaces' eth0 'NIC Names'
  is '[]' 'Network Interfaces' eth1 'NIC Names'
  printf 'BOOTIF=01-ac-1f-6b-00-00-0b\n' >"$ROOT/proc/cmdline"
  sysinfo
  is '[]' 'Network Interfaces' eth0 'NIC Names'
  is '["admin"]' 'Network Interfaces' eth1 'NIC Names'
}

@test "without BOOTIF no interface is the admin one" {
  machine microvm
  sysinfo
  is '[]' 'Network Interfaces' eth0 'NIC Names'
  [[ $json != *admin* ]]
}

@test "NICs and bonds are told from virtual interfaces, and the loopback is neither" {
  machine made-up-server
  sysinfo
  [[ $(keys 'Network Interfaces') == 'bond0 eth0 eth1 eth2 eth3' ]]
  [[ $(keys 'Virtual Network Interfaces') == 'tap0 vlan10' ]]
}

@test "an interface has its first address, and of IPv6 a global lasting one" {
  machine made-up-server
  sysinfo
  is '"10.0.0.7"' 'Network Interfaces' eth0 ip4addr
  is '"2001:db8::7"' 'Network Interfaces' eth0 ip6addr
  absent 'Network Interfaces' eth1 ip4addr
  absent 'Network Interfaces' bond0 ip6addr
}

@test "a virtual interface names the one it sits on" {
  machine made-up-server
  sysinfo
  is '"bond0"' 'Virtual Network Interfaces' vlan10 'Host Interface'
  is '"10.10.0.7"' 'Virtual Network Interfaces' vlan10 ip4addr
  absent 'Virtual Network Interfaces' tap0 'Host Interface'
}

@test "the members of a bond keep their own addresses" {
  machine made-up-server
  sysinfo
  is '"ac:1f:6b:00:00:0c"' 'Network Interfaces' bond0 'MAC Address'
  is '"ac:1f:6b:00:00:0d"' 'Network Interfaces' eth3 'MAC Address'
}

@test "a NIC tells link, speed, driver and MTU" {
  machine made-up-server
  sysinfo
  is '"up"' 'Network Interfaces' eth0 'Link Status'
  is '10000' 'Network Interfaces' eth0 'Speed in Mb/s'
  is '"i40e"' 'Network Interfaces' eth0 'Driver'
  is '9000' 'Network Interfaces' eth2 'MTU'
  is '"down"' 'Network Interfaces' eth1 'Link Status'
}

@test "an unknown speed is left out" {
  machine made-up-server
  sysinfo
  absent 'Network Interfaces' eth1 'Speed in Mb/s'
  absent 'Virtual Network Interfaces' vlan10 'Speed in Mb/s'
}

@test "a driver that does not know its state has a link if there is a carrier" {
  machine made-up-server
  sysinfo
  is '"up"' 'Virtual Network Interfaces' tap0 'Link Status'
  echo 0 >"$ROOT/sys/class/net/tap0/carrier"
  sysinfo
  is '"down"' 'Virtual Network Interfaces' tap0 'Link Status'
}

@test "without the ip program IPv4 addresses are found in /proc" {
  machine made-up-server
  rm "$ROOT/sbin/ip"
  sysinfo
  is '"10.0.0.7"' 'Network Interfaces' eth0 ip4addr
  is '"10.10.0.7"' 'Virtual Network Interfaces' vlan10 ip4addr
  absent 'Network Interfaces' eth1 ip4addr
  absent 'Network Interfaces' eth0 ip6addr
}

@test "a virtual machine's own address is found in /proc" {
  machine microvm
  sysinfo
  is '"192.0.2.2"' 'Network Interfaces' eth0 ip4addr
}
