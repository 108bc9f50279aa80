# shellcheck shell=bash
# The collectors of the machine itself, its processors and memory, its BMC and TPM. Each prints JSON in one line.
# Needs sysfs.sh and the library's job.sh; collectors say with "complain" what they could not find out.

collect_status() {
  local uptime load job jobs=0 now
  read -r uptime _ </proc/uptime
  read -r load _ </proc/loadavg
  if find_job; then
    for job in "${job_state%/*}"/*/; do
      if [[ -e $job/request.json && ! -e $job/outcome.json ]]; then jobs=$((jobs + 1)); fi
    done
  fi
  TZ=UTC printf -v now '%(%FT%TZ)T' -1
  printf '{"uptime":%s,"load":%s%s,"time":"%s"%s%s}' "${uptime%.*}" "$load" "${UR_JOB_DIR:+,\"jobs\":$jobs}" \
    "$now" "$(text cmdline "$(mask_secrets </proc/cmdline)")" \
    "$(describe /proc/sys/kernel hostname kernel=osrelease boot_id=random/boot_id tainted#)"
}

collect_system() {
  local dmi=/sys/class/dmi/id boot=bios pxe=
  [[ ! -d /sys/firmware/efi ]] || boot=uefi
  # BOOTIF=01-52-54-00-…: the card that the boot loader came by.
  [[ ! $(</proc/cmdline) =~ (^|[[:space:]])BOOTIF=([0-9A-Fa-f-]+) ]] || pxe=${BASH_REMATCH[2],,}
  pxe=${pxe#01-}
  printf '{"boot":"%s"%s' "$boot" "$(text pxe_mac "${pxe//-/:}")"
  if [[ -d $dmi ]]; then
    printf '%s' "$(describe $dmi vendor=sys_vendor product=product_name version=product_version serial=product_serial \
      uuid=product_uuid sku=product_sku family=product_family)"
    printf ',"board":%s,"chassis":%s,"firmware":%s' \
      "$(object $dmi vendor=board_vendor name=board_name version=board_version serial=board_serial asset=board_asset_tag)" \
      "$(object $dmi vendor=chassis_vendor type=chassis_type version=chassis_version serial=chassis_serial asset=chassis_asset_tag)" \
      "$(object $dmi vendor=bios_vendor version=bios_version date=bios_date release=bios_release ec=ec_firmware_release)"
  fi
  printf '%s}' "$(text secure_boot "$(secure_boot)")"
}

secure_boot() { # prints on or off; nothing without UEFI
  local variable
  for variable in /sys/firmware/efi/efivars/SecureBoot-*; do
    # Four bytes of attributes come first.
    if [[ -r $variable ]]; then [[ $(od -An -tu1 -j4 -N1 "$variable") == *1 ]] && printf on || printf off; fi
  done
}

collect_cpu() {
  local cpu vulnerability
  {
    for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
      printf 'topology %s %s\n' "$(read_line "$cpu/topology/physical_package_id" && printf '%s' "$line")" \
        "$(read_line "$cpu/topology/core_id" && printf '%s' "$line")"
    done
    for vulnerability in /sys/devices/system/cpu/vulnerabilities/*; do
      if read_line "$vulnerability"; then printf 'vulnerability %s %s\n' "${vulnerability##*/}" "$line"; fi
    done
    if read_line /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq; then printf 'khz %s\n' "$line"; fi
    printf 'machine %s\n' "$(uname -m)"
    cat /proc/cpuinfo
  } | jq -Rnc '
    reduce inputs as $line ({threads: 0, topology: [], vulnerabilities: {}, first: {}};
      if $line | startswith("topology ") then .topology += [$line]
      elif $line | startswith("vulnerability ") then ($line | split(" ")) as $w | .vulnerabilities[$w[1]] = ($w[2:] | join(" "))
      elif $line | startswith("khz ") then .max_mhz = ($line[4:] | tonumber / 1000 | floor)
      elif $line | startswith("machine ") then .architecture = $line[8:]
      else ($line | split(":") | {key: (.[0] // "" | gsub("\\s+$"; "")), value: (.[1:] | join(":") | gsub("^\\s+|\\s+$"; ""))}) as $m
        | (if $m.key == "processor" then .threads += 1 else . end)
        | (if .first[$m.key] == null then .first[$m.key] = $m.value else . end)
      end)
    | .first as $f
    | {architecture, threads, max_mhz, vulnerabilities,
       sockets: ([.topology[] | split(" ")[1]] | unique | length),
       cores: (.topology | unique | length),
       model: ($f["model name"] // $f["cpu model"] // $f["CPU part"]), vendor: ($f.vendor_id // $f["CPU implementer"]),
       family: $f["cpu family"], stepping: $f.stepping, microcode: $f.microcode,
       flags: (($f.flags // $f.Features // "") | split(" ") | map(select(. != "")))}
    | with_entries(select(.value != null))'
}

collect_numa() {
  local node
  for node in /sys/devices/system/node/node[0-9]*; do
    [[ -d $node ]] || continue
    printf '"node":%s%s,"memory_kib":%s\n' "${node##*/node}" "$(describe "$node" cpus=cpulist distances=distance)" \
      "$(awk '$3 == "MemTotal:" { print $4 }' "$node/meminfo")"
  done | objects
}

collect_memory() {
  local kib controller entry bytes
  {
    read -r _ kib _ </proc/meminfo
    printf '"total_kib":%d\n' "$kib"
    # Corrected errors are the first that one sees of a module that is going to fail.
    for controller in /sys/devices/system/edac/mc/mc[0-9]*; do
      [[ ! -d $controller ]] || printf '"edac":%s\n' "$(object "$controller" name=mc_name corrected#=ce_count uncorrected#=ue_count)"
    done
    # SMBIOS type 17, from the kernel, which keeps the table, so that dmidecode is not needed.
    for entry in /sys/firmware/dmi/entries/17-*/raw; do
      [[ -r $entry ]] || continue
      bytes=$(od -An -v -tu1 "$entry" | tr -s ' \n' ,)
      bytes=${bytes#,}
      printf '"module":[%s]\n' "${bytes%,}"
    done
  } | jq -Rnc "$utf8_filter"'
    def decoded:
      def word($at): .[$at] + .[$at + 1] * 256;
      . as $raw | .[1] as $length
      # After the structure itself come its strings, each ended by a zero.
      | ([.[$length:] | utf8 | split("\u0000")[] | gsub("^\\s+|\\s+$"; "")]) as $strings
      | def string($at): if $at < $length and $raw[$at] > 0 then $strings[$raw[$at] - 1] else null end;
        (word(12)) as $size
      | {locator: string(16), bank: string(17), manufacturer: string(23), serial: string(24), part: string(26),
         mib: (if $size == 0 or $size == 65535 then 0
               elif $size == 32767 and $length > 31 then word(28) + word(30) * 65536
               elif $size >= 32768 then ($size - 32768) / 1024 | floor else $size end),
         type: ({"24": "DDR3", "26": "DDR4", "27": "LPDDR", "28": "LPDDR2", "29": "LPDDR3", "30": "LPDDR4", "34": "DDR5", "35": "LPDDR5"}[.[18] | tostring]),
         rated_mts: (if $length > 22 then word(21) else null end),
         mts: (if $length > 33 then word(32) else null end)}
      | with_entries(select(.value != null and .value != ""));
    [inputs | "{\(.)}" | fromjson]
    | {total_kib: (map(.total_kib // empty)[0]), modules: map(.module // empty | decoded), controllers: map(.edac // empty)}
    | .installed_mib = ([.modules[].mib // 0] | add // 0)'
}

collect_bmc() {
  local channel lan device
  for device in /dev/ipmi0 /dev/ipmi/0 /dev/ipmidev/0; do [[ ! -e $device ]] || break; done
  if [[ ! -e $device ]]; then
    printf null
    return
  fi
  if ! command -v ipmitool >/dev/null; then
    complain 'there is a BMC, but no ipmitool (Debian package ipmitool) to ask it'
    printf '{}'
    return
  fi
  {
    limited 30 ipmitool mc info | sed 's/^/mc /'
    for channel in {1..11}; do
      # A channel that is not there, or no LAN, is an error to ipmitool.
      lan=$(limited 15 ipmitool lan print "$channel" 2>/dev/null | sed "s/^/lan $channel /") || continue
      printf '%s\n' "$lan"
    done
  } | jq -Rnc '
    def trim: gsub("^\\s+|\\s+$"; "");
    [inputs | capture("^(?<part>mc|lan (?<channel>\\d+)) (?<key>[^:]+[^: ])\\s*:\\s*(?<value>.*)$")] as $all
    | ($all | map(select(.part == "mc") | {(.key | trim): (.value | trim)}) | add // {}) as $mc
    | {firmware: $mc["Firmware Revision"], ipmi: $mc["IPMI Version"], manufacturer: $mc["Manufacturer Name"], product: $mc["Product Name"],
       lan: [$all | map(select(.part != "mc")) | group_by(.channel | tonumber)[]
         | (map({(.key | trim): (.value | trim)}) | add) as $lan
         | {channel: (.[0].channel | tonumber), address: $lan["IP Address"], mac: $lan["MAC Address"],
            source: $lan["IP Address Source"], gateway: $lan["Default Gateway IP"], vlan: $lan["802.1q VLAN ID"]}
         | with_entries(select(.value != null))]}
    | with_entries(select(.value != null))'
}

collect_tpm() {
  local tpm
  for tpm in /sys/class/tpm/tpm[0-9]*; do
    [[ ! -d $tpm ]] || printf '"name":"%s"%s\n' "${tpm##*/}" \
      "$(describe "$tpm" version=tpm_version_major description=device/description firmware_node=device/firmware_node/path \
        owned?=device/owned enabled?=device/enabled pcr0=pcr-sha256/0)"
  done | objects
}
