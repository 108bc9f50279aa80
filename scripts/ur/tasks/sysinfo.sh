#!/bin/sh
# The facts of this machine: one JSON object on standard output, in the words of SmartOS's sysinfo.
#
# The agent runs it as /bin/sh on any Linux, a busybox ramdisk included, and again at every broadcast. So it is
# POSIX sh, starts no process where a builtin will do, and leaves out what it cannot find instead of failing.
#
#   UR_SETUP_FILE     the setup state of the node (default: /var/lib/setup.json)
#   UR_SYSINFO_ROOT   an absolute path: where /sys, /proc, /etc, /var and /sbin/ip are looked for, for tests

set -u
# With bytes for characters every shell cuts strings alike, whatever the node's locale.
LC_ALL=C
root=${UR_SYSINFO_ROOT-}
ip=${root:+$root/sbin/}ip
newline='
'
[ -n "$root" ] || PATH=${PATH:+$PATH:}/usr/sbin:/sbin

main() {
  # First the nested objects: all are built in $fields, one after the other.
  boot_parameters
  addresses
  interfaces
  disks

  fields=
  system
  dmi
  cpus
  add 'Disks' "{$disks}"
  add 'Boot Parameters' "{$parameters}"
  add 'Network Interfaces' "{$physical}"
  add 'Virtual Network Interfaces' "{$virtual}"
  printf '{%s}\n' "$fields"
}

add() { # <key> <JSON>
  quote "$1"
  fields="$fields${fields:+, }$quoted: $2"
}

add_string() { # <key> <text>: unless the text is empty
  quote "$2"
  [ "$quoted" = '""' ] || add "$1" "$quoted"
}

add_number() { # <key> <text>: unless the text is no decimal number
  case $2 in '' | *[!0-9]* | 0?*) ;; *) add "$1" "$2" ;; esac
}

add_boolean() { # <key> <text>: unless the text is neither 0 nor 1
  case $2 in 0) add "$1" false ;; 1) add "$1" true ;; esac
}

add_file() { # <key> <file>
  read_line "$2" && add_string "$1" "$line"
}

read_line() { # <file>: sets $line to its first line without surrounding blanks; fails if that is nothing
  line=
  read -r line 2>/dev/null <"$1"
  [ -n "$line" ]
}

quote() { # <text>: sets $quoted to it as a JSON string
  quoted="\"$1\""
  case $1 in *[!\ -~]* | *[\"\\]*) ;; *) return ;; esac
  quoted='' sequence='' missing=0 rest=$1
  while [ -n "$rest" ]; do
    tail=${rest#?}
    char=${rest%"$tail"}
    rest=$tail
    case $char in
      [\"\\]) quoted=$quoted\\$char missing=0 ;;
      [\ -~]) quoted=$quoted$char missing=0 ;;
      *) quote_byte "$char" ;;
    esac
  done
  quoted="\"$quoted\""
}

quote_byte() { # <byte>: a control character is escaped, UTF-8 is kept, a byte that is neither is dropped
  byte=$(printf '%d' "'$1")
  byte=$((byte & 255))
  if [ "$byte" -lt 32 ] || [ "$byte" -eq 127 ]; then
    quoted=$quoted$(printf '\\u%04x' "$byte")
  elif [ "$byte" -ge 194 ] && [ "$byte" -lt 245 ]; then
    sequence=$1 missing=$((1 + (byte >= 224) + (byte >= 240)))
  elif [ "$byte" -lt 192 ] && [ "$missing" -gt 0 ]; then
    sequence=$sequence$1 missing=$((missing - 1))
    [ "$missing" -gt 0 ] || quoted=$quoted$sequence
  fi
}

lower_hex() { # <text>: sets $lower to it with A-F in lower case
  lower=$1
  while :; do
    case $lower in
      *A*) lower=${lower%%A*}a${lower#*A} ;;
      *B*) lower=${lower%%B*}b${lower#*B} ;;
      *C*) lower=${lower%%C*}c${lower#*C} ;;
      *D*) lower=${lower%%D*}d${lower#*D} ;;
      *E*) lower=${lower%%E*}e${lower#*E} ;;
      *F*) lower=${lower%%F*}f${lower#*F} ;;
      *) break ;;
    esac
  done
}

system() {
  read_line "$root/proc/sys/kernel/hostname" || line=$(uname -n 2>/dev/null)
  add_string 'Hostname' "${line:-localhost}"
  add_file 'Live Image' "$root/proc/sys/kernel/osrelease"
  add 'System Type' '"Linux"'
  add_string 'Datacenter Name' "$datacenter"
  boot_time
  add_file 'Boot ID' "$root/proc/sys/kernel/random/boot_id"
  add_file 'Kernel Version' "$root/proc/sys/kernel/version"
  read_line "$root/proc/sys/kernel/arch" || line=$(uname -m 2>/dev/null)
  add_string 'Kernel Architecture' "$line"
  distribution
  kib=
  read -r _ kib _ 2>/dev/null <"$root/proc/meminfo"
  case $kib in '' | *[!0-9]*) ;; *) add 'MiB of Memory' "\"$((kib / 1024))\"" ;; esac
  setup_state
}

boot_time() {
  [ -r "$root/proc/stat" ] || return
  # A process is cheaper here: shells read byte by byte, and before btime come the interrupts, many KB of them.
  btime=$(sed -n 's/^btime //p' "$root/proc/stat" 2>/dev/null) \
    || while read -r key value _; do [ "$key" != btime ] || btime=$value; done <"$root/proc/stat"
  add_string 'Boot Time' "$btime"
}

distribution() {
  release=$root/etc/os-release
  [ -r "$release" ] || release=$root/usr/lib/os-release
  [ -r "$release" ] || return
  while IFS='=' read -r key value || [ -n "$key" ]; do
    value=${value#[\"\']}
    value=${value%[\"\']}
    case $key in
      PRETTY_NAME) add_string 'Distribution' "$value" ;;
      ID) add_string 'Distribution ID' "$value" ;;
    esac
  done <"$release"
}

setup_state() {
  file=${UR_SETUP_FILE:-$root/var/lib/setup.json} text='' setup=false
  set -f
  while read -r line || [ -n "$line" ]; do
    for word in $line; do text=$text$word; done
  done 2>/dev/null <"$file"
  set +f
  case $text in *'"complete":true'*) setup=true ;; esac
  add 'Setup' "\"$setup\""
}

dmi() {
  id=$root/sys/class/dmi/id
  add_file 'Manufacturer' "$id/sys_vendor"
  add_file 'Product' "$id/product_name"
  add_file 'Serial Number' "$id/product_serial"
  add_file 'SKU Number' "$id/product_sku"
  add_file 'HW Version' "$id/product_version"
  add_file 'HW Family' "$id/product_family"
  add_file 'Board Serial' "$id/board_serial"
  add_file 'Chassis Serial' "$id/chassis_serial"
  add_file 'BIOS Version' "$id/bios_version"
  read_line "$id/product_uuid" && lower_hex "$line" && add_string 'UUID' "$lower"
  # Without EFI, only a machine that can name its BIOS was started by one.
  if [ -d "$root/sys/firmware/efi" ]; then
    add 'Firmware Type' '"uefi"'
  elif [ -d "$id" ]; then
    add 'Firmware Type' '"bios"'
  fi
}

cpus() {
  total=0 cores=0 sockets=0 packages=' '
  for cpu in "$root"/sys/devices/system/cpu/cpu[0-9]*; do
    read_line "$cpu/topology/physical_package_id" || continue
    total=$((total + 1))
    case $packages in *" $line "*) ;; *) sockets=$((sockets + 1)) packages="$packages$line " ;; esac
    # A core is counted with the first of the threads that share it.
    read_line "$cpu/topology/thread_siblings_list"
    [ "${line%%[,-]*}" != "${cpu##*/cpu}" ] || cores=$((cores + 1))
  done
  cpu_model
  add_string 'CPU Type' "$model"
  case $flags in *' vmx '*) mode=vmx ;; *' svm '*) mode=svm ;; *) mode=none ;; esac
  add 'CPU Virtualization' "\"$mode\""
  [ "$total" -gt 0 ] || total=$processors
  [ "$cores" -gt 0 ] || cores=$total
  add_number 'CPU Total Cores' "${total#0}"
  add_number 'CPU Physical Cores' "${cores#0}"
  add_number 'CPU Sockets' "${sockets#0}"
  read_line "$root/sys/hypervisor/type" || case $flags in *' hypervisor '*) line=yes ;; esac
  add_string 'Hypervisor' "$line"
}

cpu_model() { # sets $model, $flags and, where /sys has no processors, $processors
  model='' flags='' processors=0
  [ -r "$root/proc/cpuinfo" ] || return
  while read -r line; do
    case $line in
      # The processors after the first repeat it, at 2 KB each.
      '') [ "$total" -eq 0 ] || break ;;
      processor*) processors=$((processors + 1)) ;;
      'model name'*:* | 'cpu model'*:* | cpu[[:blank:]][[:blank:]]*:*) model=${model:-"${line#*: }"} ;;
      flags*:*) flags=${flags:-" ${line#*: } "} ;;
    esac
  done <"$root/proc/cpuinfo"
}

boot_parameters() { # sets $parameters, $bootif and $datacenter
  parameters='' bootif='' datacenter='' word='' open=0 seen='='
  hidden=
  # One process masks all of it. Where there is no sed no value is shown.
  read_line "$root/proc/cmdline" && if unread=$(mask_secrets <"$root/proc/cmdline" 2>/dev/null); then
    line=${unread%%"$newline"*}
  else
    hidden='***'
  fi
  unread="$line "
  set --
  while [ -n "$unread" ]; do
    piece=${unread%%[[:blank:]]*}
    unread=${unread#*[[:blank:]]}
    word=$word$piece
    until [ "$piece" = "${piece#*\"}" ]; do piece=${piece#*\"} open=$((1 - open)); done
    # A blank between quotes parts no words.
    if [ "$open" = 1 ] && [ -n "$unread" ]; then
      word="$word "
      continue
    fi
    # What follows -- is for init, not for the kernel.
    [ "$word" != -- ] || break
    [ -z "$word" ] || set -- "$word" "$@"
    word=
  done
  # From the last to the first: of a parameter given twice the last counts.
  for word; do boot_parameter; done
}

boot_parameter() { # of $word
  key=${word#\"}
  value=true
  case $key in *=*) value=${key#*=} key=${key%%=*} ;; esac
  key=${key%\"}
  value=${value#\"}
  value=${value%\"}
  case $seen in *"=$key="*) return ;; esac
  seen=$seen$key=
  case $key in
    BOOTIF) boot_interface ;;
    ur.datacenter) datacenter=$value ;;
    *) value=${hidden:-$value} ;;
  esac
  quote "$key"
  name=$quoted
  quote "$value"
  parameters="$name: $quoted${parameters:+, }$parameters"
}

# --- the one masking of secrets: these lines stand in ur.sh and in sysinfo.sh, which runs alone ---

# A name that says so, in any case: rather one too many than one too few.
secret_name='([a-z0-9_.%*-]*(passw|passphrase|passcode|secret|token|cred|signature|(api|access|account|auth|client|encryption|master|private|shared|signing)[._-]?key)[a-z0-9_.*-]*|[a-z0-9_.%*-]*(pass|pwd|pw|psk)[0-9]*)'
# A word to its end, with what is quoted in it. A quote before a comma, bracket or colon ends a string of JSON.
secret_word='([^]["'\''\\{\n[:space:]]|\\[^"'\''])([^"\\\n[:space:]]|\\[^"]|"[^]"},:;)\\[:space:]]|"[[:blank:]]+"|"[^]"},:;)\\[:space:]][^"]*("|$))*'
# What is masked already is a newline, which no rule takes for a part of a secret.
secret_rules='
# What a header says of its sender
s/(authori[sz]ation:[[:blank:]]*digest[[:blank:]]).*/\1\n/gI
s/((authori[sz]ation|cookie)\\*["'\'']?[[:blank:]]*[:=][[:blank:]]*\\*["'\'']?)[^"'\''\\]+/\1\n/gI
s/(bearer[[:blank:]]+)[^"'\''\\,;[:space:]]+/\1\n/gI
# Arguments of programs
s/((^|["'\''[:space:]])(-u|--user|--proxy-user)[=[:space:]]*["'\'']?[^:"'\''[:space:]]+:)[^"'\''[:space:]]+/\1\n/g
s/((ipmitool|sshpass)[^|;]*[[:blank:]]-[Pp][[:blank:]]*)[^[:space:]]+/\1\n/g
s/((^|["'\''[:space:]])--?'"$secret_name"'[[:blank:]]+)("[^"]*"|'\''[^'\'']*'\''|[^-"'\''[:space:]][^[:space:]]*)/\1\n/gI
# What has such a name: in quotes as a whole, behind an escaped quote, a quote, as JSON, as a word
s/("'"$secret_name"'=)([^"\\]|\\[^"])*/\1\n/gI
s/('\'''"$secret_name"'=)[^'\'']*/\1\n/gI
s/('"$secret_name"'\\+"[[:blank:]]*:[[:blank:]]*\\+")([^"\\]|\\+[^"\\])*/\1\n/gI
s/('"$secret_name"'["'\'']?[[:blank:]]*[:=]>?[[:blank:]]*")([^"\\]|\\.)*/\1\n/gI
s/('"$secret_name"'["'\'']?[[:blank:]]*[:=]>?[[:blank:]]*'\'')[^'\'']*/\1\n/gI
s/('"$secret_name"'"[[:blank:]]*:[[:blank:]]*)(\[[^]]*\]|[^][{},"[:space:]]+)/\1"\n"/gI
s/('"$secret_name"'(=|[[:blank:]]+=[[:blank:]]+|:[[:blank:]]*))'"$secret_word"'/\1\n/gI
s/((^|["'\''?&[:space:]])(key|auth|sig|sas|jwt|code|session[a-z_-]*)=)'"$secret_word"'/\1\n/gI
# The user:password:host:port of Triton
s/(rabbitmq(=|":[[:blank:]]*")[^:"[:space:]]*):[^"[:space:]]*(:[^:"[:space:]]*:[^:"[:space:]]*)/\1:\n\3/g
s/(rabbitmq=[^:"[:space:]]*):[^:"\n[:space:]]+(:[^:"[:space:]]*)?(["[:space:]]|$)/\1:\n\3/g
s/(rabbitmq=)"[^"]*/\1"\n/g
s/("rabbitmq=[^:"]*:)[^"]*[[:blank:]][^"]*/\1\n/g
# What stands before the host of a URL, up to its last @; a name without a password is a token
s~(://)[^][/@:?#"'\''[:space:]]+:(x-oauth-basic)?@~\1\n@~g
s~(://)[^][/:?#"'\''[:space:]]*@[^][/@:?#"'\''[:space:]]*:([^/"'\''\\[:space:]]|["'\''\\][^]},:;[:space:]])*@~\1\n@~g
s~(://[^][/@:?#"'\''[:space:]]*):[0-9]*[^][0-9/@"'\''[:space:]][^/@"'\''[:space:]]*/[^"'\''[:space:]]*@~\1:\n@~g
s~(://[^][/@:?#"'\''[:space:]]*):([^/"'\''\\[:space:]]|["'\''\\][^]},:;[:space:]])*@~\1:\n@~g
s~(://)[^][/:?#"'\''\n[:space:]]+@~\1\n@~g
s~(^|["'\''=(,[:space:]])([^][/@:?#=("'\''[:space:]]+):[^/"'\''[:space:]]+@~\1\2:\n@~g
s~(=[^][/@:?#="'\''[:space:]]+):([^/@"'\''[:space:]]+/)+[^/@"'\''[:space:]]*@~\1:\n@~g
# What shows by its form: hashes of passwords, JSON web tokens
s/\$(1|5|6|y|2[aby])\$[a-zA-Z0-9./=,$]{8,}/\n/g
s/eyJ[a-zA-Z0-9_-]{8,}\.[a-zA-Z0-9_-]+\.[a-zA-Z0-9_-]*/\n/g
s/\n/***/g
'

mask_secrets() { # reads text; prints it with *** in the place of each password, key and token
  LC_ALL=C sed -E "$secret_rules"
}

# --- end of the masking ---

boot_interface() { # sets $bootif to aa:bb:cc:dd:ee:ff if $value is 01-AA-BB-CC-DD-EE-FF: the 01 says Ethernet
  lower_hex "${value#*-}"
  bootif=${lower%%-*} rest=${lower#*-}-
  while [ -n "$rest" ]; do
    bootif=$bootif:${rest%%-*} rest=${rest#*-}
  done
}

addresses() { # sets $ip4 and $ip6 to lists: " eth0=10.0.0.5 eth1=10.1.0.5 "
  ip4=' ' ip6=' '
  if ! rows=$("$ip" -o addr show 2>/dev/null); then
    addresses_from_proc
    return
  fi
  set -f
  # 2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\       valid_lft forever preferred_lft forever
  IFS='
'
  for row in $rows; do
    name=${row#*: }
    name=${name%%[ @]*}
    address=${row#* inet* }
    address=${address%%[ /]*}
    case $row in
      *' inet '*) ip4="$ip4$name=$address " ;;
      *' scope global'*' temporary '* | *' scope global'*' deprecated '*) ;;
      *' inet6 '*' scope global'*) ip6="$ip6$name=$address " ;;
    esac
  done
  unset IFS
  set +f
}

addresses_from_proc() { # the fib_trie has the addresses; the routes tell which interface each belongs to
  [ -r "$root/proc/net/fib_trie" ] && [ -r "$root/proc/net/route" ] || return
  routes='' address=''
  while read -r name network gateway _ _ _ _ mask _; do
    case $gateway:$mask in 00000000:*[!0]*) routes="$routes $name:$network:$mask" ;; esac
  done <"$root/proc/net/route"
  while read -r key value kind; do
    case $key:$value:$kind in
      '|--':*) address=$value ;;
      /32:host:LOCAL) route_address ;;
    esac
  done <"$root/proc/net/fib_trie"
}

route_address() { # puts $address in $ip4 by its entry in $routes
  rest=$address. number=0 shift=0
  # Routes are written as little-endian machines see them.
  while [ -n "$rest" ]; do
    number=$((number | ${rest%%.*} << shift)) shift=$((shift + 8)) rest=${rest#*.}
  done
  for route in $routes; do
    network=${route#*:}
    [ $((number & 0x${network#*:})) -eq $((0x${network%:*})) ] || continue
    ip4="$ip4${route%%:*}=$address "
    return
  done
}

address_of() { # <interface> <list>: sets $address to the first in the list that is the interface's
  case $2 in *" $1="*) address=${2#*" $1="} ;; *) address= ;; esac
  address=${address%% *}
}

interfaces() { # sets $physical and $virtual
  physical='' virtual=''
  for interface in "$root"/sys/class/net/*; do
    # 1 and 32 are Ethernet and InfiniBand. The loopback, for one, is neither.
    read_line "$interface/type"
    case $line in 1 | 32) ;; *) continue ;; esac
    name=${interface##*/}
    fields=
    interface_facts
    if [ -e "$interface/device" ] || [ -e "$interface/bonding" ]; then
      quote "$name"
      physical="$physical${physical:+, }$quoted: {$fields}"
    else
      for host in "$interface"/lower_*; do
        [ ! -e "$host" ] || add_string 'Host Interface' "${host##*/lower_}"
        break
      done
      quote "$name"
      virtual="$virtual${virtual:+, }$quoted: {$fields}"
    fi
  done
}

interface_facts() { # of $interface, whose name is $name
  # The members of a bond all show its address; their own is elsewhere.
  read_line "$interface/bonding_slave/perm_hwaddr" || read_line "$interface/address"
  add_string 'MAC Address' "$line"
  [ "${line:-unknown}" = "$bootif" ] && names='"admin"' || names=
  add 'NIC Names' "[$names]"
  address_of "$name" "$ip4"
  add_string 'ip4addr' "$address"
  address_of "$name" "$ip6"
  add_string 'ip6addr' "$address"
  link_status
  read_line "$interface/mtu" && add_number 'MTU' "$line"
  [ -r "$interface/device/uevent" ] || return
  while IFS='=' read -r key value || [ -n "$key" ]; do
    [ "$key" != DRIVER ] || add_string 'Driver' "$value"
  done <"$interface/device/uevent"
}

link_status() {
  read_line "$interface/operstate"
  # Drivers that do not know their state know whether there is a carrier.
  [ "$line" != unknown ] || read_line "$interface/carrier"
  case $line in
    up | 1) add 'Link Status' '"up"' ;;
    *) add 'Link Status' '"down"' && return ;;
  esac
  read_line "$interface/speed"
  # An unknown speed is -1, which older kernels wrote in 16 or 32 bits.
  case $line in 0 | 65535 | 4294967295) ;; *) add_number 'Speed in Mb/s' "$line" ;; esac
}

disks() { # sets $disks
  disks=
  for disk in "$root"/sys/block/*; do
    name=${disk##*/}
    case $name in
      loop* | ram* | zram* | dm-* | md* | sr* | fd* | mtdblock* | ubiblock* | mmcblk*boot* | mmcblk*rpmb | nvme*c*n*) continue ;;
    esac
    # There, $PWD is the physical path, which tells the transport without a readlink.
    cd -P "$disk" 2>/dev/null || continue
    case $PWD in
      */devices/virtual/block/nbd*) ;;
      */devices/virtual/block/*) continue ;;
    esac
    read_line size
    case $line in '' | 0 | *[!0-9]*) continue ;; esac
    fields=
    # 1953125 sectors of 512 bytes, the kernel's unit whatever the disk's, are 10^9 bytes.
    add 'Size in GB' "$((line / 1953125))"
    disk_facts
    quote "$name"
    disks="$disks${disks:+, }$quoted: {$fields}"
  done
  cd /
}

disk_facts() { # of the disk whose directory we are in
  read_line device/model || read_line device/name
  add_string 'Model' "$line"
  read_line serial || read_line device/serial || unit_serial
  add_string 'Serial' "$line"
  read_line wwid || read_line device/wwid
  add_string 'WWN' "$line"
  read_line queue/rotational && add_boolean 'Rotational' "$line"
  read_line removable && add_boolean 'Removable' "$line"
  read_line queue/logical_block_size && add_number 'Logical Block Size' "$line"
  case $PWD in
    */usb[0-9]*) transport=usb ;;
    */nvme*) transport=nvme ;;
    */end_device-*) transport=sas ;;
    */ata[0-9]*) transport=sata ;;
    */virtio[0-9]*) transport=virtio ;;
    */session[0-9]*) transport=iscsi ;;
    */rport-*) transport='fc' ;;
    */mmc_host/*) transport=mmc ;;
    *) transport= ;;
  esac
  add_string 'Transport' "$transport"
}

unit_serial() { # sets $line to the serial number in a SCSI disk's vital product data
  line=
  [ -r device/vpd_pg80 ] || return
  {
    read -r line
    # Before it: 0 80 0 length. Shells drop zeros, and a length of 10 is a newline to them.
    line=${line#?}
    if [ -n "$line" ]; then line=${line#?}; else read -r line; fi
  } 2>/dev/null <device/vpd_pg80
  line=${line#"${line%%[! ]*}"}
}

main
