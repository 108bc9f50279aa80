# shellcheck shell=bash
# The collector of LLDP: into which port of which switch each network card is plugged.
# Needs sysfs.sh.

collect_lldp() {
  local seconds=${PT_lldp_seconds:-0} nic names=() name
  for nic in /sys/class/net/*; do
    # A card without a link hears nothing.
    if [[ -e $nic/device ]] && read_line "$nic/carrier" && [[ $line == 1 ]]; then names+=("${nic##*/}"); fi
  done
  if ((seconds > 0 && ${#names[@]})); then
    listen "$seconds" "${names[@]}"
  fi
  decode_frames "${names[@]}"
}

listen() { # <seconds> <interface>…: waits for a frame on each, all at the same time
  local seconds=$1 name
  shift
  if ! command -v tcpdump >/dev/null; then
    complain 'listening takes tcpdump (Debian package tcpdump)'
    return
  fi
  for name; do
    # It is stopped at the limit where there is no switch that talks; that is no error.
    limited "$seconds" tcpdump -q -n -i "$name" -c 1 -w "$scratch/lldp.$name" 'ether proto 0x88cc' 2>/dev/null || true &
  done
  wait
}

decode_frames() { # <interface>…: prints what was heard there
  local name bytes quoted frames=''
  for name; do
    [[ -s $scratch/lldp.$name ]] || continue
    # Before the frame: 24 bytes of the capture's header, 16 of the packet's. Of the frame: two addresses and the type.
    bytes=$(od -An -v -tu1 -j54 "$scratch/lldp.$name" | tr -s ' \n' ,)
    bytes=${bytes#,}
    to_json quoted "$name"
    frames+="[$quoted,[${bytes%,}]]"$'\n'
  done
  [[ -n $frames ]] || {
    printf '[]'
    return
  }
  jq -nc "$utf8_filter"'
    def hex: map("0123456789abcdef"[(. / 16 | floor):(. / 16 | floor) + 1] + "0123456789abcdef"[. % 16:. % 16 + 1]);
    def text: utf8;
    # Subtype 4 of a chassis and 3 of a port are MAC addresses; 5 and 4 are network addresses; the rest is text.
    def id($mac; $net): if .[0] == $mac then .[1:] | hex | join(":")
      elif .[0] == $net and .[1] == 1 then .[2:] | map(tostring) | join(".") else .[1:] | text end;
    def records: if length < 2 then empty else
      (.[0] / 2 | floor) as $type | ((.[0] % 2) * 256 + .[1]) as $length
      | if $type == 0 then empty else {type: $type, value: .[2:2 + $length]}, (.[2 + $length:] | records) end end;
    [inputs | .[0] as $interface | [.[1] | records] as $all
    | def first_of($type): [$all[] | select(.type == $type) | .value][0];
    {$interface, chassis: (first_of(1) | if . then id(4; 5) else null end), port: (first_of(2) | if . then id(3; 4) else null end),
     port_description: (first_of(4) | if . then text else null end), switch: (first_of(5) | if . then text else null end),
     switch_description: (first_of(6) | if . then text else null end),
     vlan: ([$all[] | select(.type == 127 and (.value[:4] == [0, 128, 194, 1])) | .value[4] * 256 + .value[5]][0]),
     raw: [$all[] | {type, hex: (.value | hex | join(""))}]}
    | with_entries(select(.value != null))]' <<<"$frames"
}
