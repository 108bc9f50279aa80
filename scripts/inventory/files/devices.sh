# shellcheck shell=bash
# The collectors of disks, network cards and devices on PCI and USB. Each prints JSON.
# Needs sysfs.sh and the library's disks.sh.

collect_disks() {
  local names name block more all=''
  names=$(list_disks)
  for name in $names; do
    block=/sys/class/block/$name
    more=$(describe "$block" physical_sector#=queue/physical_block_size scheduler=queue/scheduler \
      discard#=queue/discard_max_bytes numa_node#=device/numa_node firmware=device/firmware_rev)
    [[ $more == *',"firmware":'* ]] || more+=$(describe "$block" firmware=device/rev)
    read_disk "$name"
    all+=",${facts[$name]%\}}$more}"
  done
  printf '[%s]' "${all#,}"
}

collect_nics() { # cards, and the bonds and VLANs on them
  local nic
  for nic in /sys/class/net/*; do
    if [[ -e $nic/device || -d $nic/bonding ]] || compgen -G "$nic/lower_*" >/dev/null; then
      nic "$nic"
    fi
  done | objects
}

nic() { # <directory>: prints its members
  local name=${1##*/} lower lowers=() pci
  printf '"name":%s%s' "$(json_string "$name")" \
    "$(describe "$1" mac=address permanent_mac=bonding_slave/perm_hwaddr mtu# state=operstate carrier?=carrier speed_mbps#=speed duplex \
      type# vendor=device/vendor product=device/device numa_node#=device/numa_node bond_mode=bonding/mode bond_of=bonding/slaves \
      carrier_changes#=carrier_changes receive_errors#=statistics/rx_errors transmit_errors#=statistics/tx_errors)"
  pci=$(link_name "$1/device")
  printf '%s%s%s' "$(text driver "$(link_name "$1/device/driver")")" "$(text pci "$pci")" "$(text master "$(link_name "$1/master")")"
  for lower in "$1"/lower_*; do
    if [[ -e $lower ]]; then lowers+=("${lower##*/lower_}"); fi
  done
  text on "${lowers[*]}"
  if command -v ethtool >/dev/null; then
    text firmware "$(limited 10 ethtool -i "$name" 2>/dev/null | sed -n 's/^firmware-version: //p')"
  fi
  printf ',"addresses":%s\n' "$(addresses_of "$name")"
}

addresses_of() { # <interface>: prints its addresses with prefix lengths
  # busybox's ip has no JSON, but this form.
  { ip -o address show dev "$1" 2>/dev/null || true; } | awk '$3 ~ /^inet/ { print $4 }' | json_strings
}

collect_pci() {
  local device
  for device in /sys/bus/pci/devices/*; do
    [[ -d $device ]] || continue
    printf '"address":"%s"%s%s%s\n' "${device##*/}" \
      "$(describe "$device" vendor device class revision subsystem_vendor subsystem_device numa_node# link_speed=current_link_speed \
        link_width#=current_link_width max_link_speed max_link_width# virtual_functions#=sriov_totalvfs)" \
      "$(text driver "$(link_name "$device/driver")")" "$(text slot "$(slot_of "${device##*/}")")"
  done | objects
}

slot_of() { # <PCI address>: prints the label of its slot, as it is printed on the board
  local slot line
  for slot in /sys/bus/pci/slots/*; do
    if read_line "$slot/address" && [[ $1 == "$line".* ]]; then printf '%s' "${slot##*/}"; fi
  done
}

collect_usb() {
  local device
  for device in /sys/bus/usb/devices/*; do
    # Interfaces of devices have no vendor.
    [[ ! -e $device/idVendor ]] || printf '"address":"%s"%s\n' "${device##*/}" \
      "$(describe "$device" vendor=idVendor product=idProduct manufacturer name=product serial speed_mbps#=speed class=bDeviceClass \
        version)"
  done | objects
}
