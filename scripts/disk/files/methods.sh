# shellcheck shell=bash
# Methods of erasing: how thorough each is, and which of them a drive offers. Levels are those of NIST SP 800-88: purge
# defeats a laboratory, clear defeats reading the disk through its interface. Two more are only for disks that stay in the house: express gives the space back, metadata makes the disk look new.

# A method is also a function: ata-sanitize-block is ata_sanitize_block, and takes the disks it is to erase.
declare -rA method_level=(
  ["nvme-sanitize-crypto"]=purge ["nvme-sanitize-block"]=purge ["nvme-format-crypto"]=purge ["nvme-format-user"]=purge
  ["ata-sanitize-crypto"]=purge ["ata-sanitize-block"]=purge ["ata-sanitize-overwrite"]=purge
  ["ata-secure-erase-enhanced"]=purge ["ata-secure-erase"]=clear
  ["scsi-sanitize-crypto"]=purge ["scsi-sanitize-block"]=purge ["scsi-sanitize-overwrite"]=purge
  ["zeroout"]=clear ["overwrite"]=clear ["discard"]=express ["metadata"]=metadata
)

declare -rA level_rank=([purge]=4 [clear]=3 [express]=2 [metadata]=1)

default_methods() { # <level> <class> <rotational>: prints them, the best first
  case $1:$2:$3 in
    purge:nvme:*) printf '%s\n' nvme-sanitize-crypto nvme-sanitize-block nvme-format-crypto nvme-format-user ;;
    purge:ata:*) printf '%s\n' ata-sanitize-crypto ata-sanitize-block ata-sanitize-overwrite ata-secure-erase-enhanced ;;
    purge:scsi:*) printf '%s\n' scsi-sanitize-crypto scsi-sanitize-block scsi-sanitize-overwrite ;;
    purge:*) ;;
    # What zeroes a platter is the same either way, but of an overwrite one sees how far it is.
    clear:*:true) printf '%s\n' overwrite ;;
    clear:*) printf '%s\n' zeroout overwrite ;;
    express:nvme:*) printf '%s\n' nvme-format-crypto nvme-format-user discard metadata ;;
    express:*) printf '%s\n' discard metadata ;;
    metadata:*) printf '%s\n' metadata ;;
  esac
}

offered_methods() { # <disk> <methods wanted>: prints those that it can do; the drive is asked only where it matters
  printf '%s\n' zeroout overwrite metadata
  (($(attribute "$1" queue/discard_max_bytes) == 0)) || printf '%s\n' discard
  # The methods of firmware are those with a dash.
  [[ $2 == *-* ]] || return 0
  case ${disk_fact["$1 class"]} in
    nvme) nvme_offers "$1" ;;
    ata) ata_offers "$1" ;;
    scsi) scsi_offers "$1" ;;
  esac
}

need_for_methods() { # <method>…: the programs they take
  local method
  for method; do
    case $method in
      nvme-*) need nvme:nvme-cli ;;
      ata-*) need hdparm ;;
      scsi-*) need sg_sanitize:sg3-utils sg_opcodes:sg3-utils ;;
      zeroout | discard) need blkdiscard:util-linux ;;
    esac
  done
}

# --- by the kernel, on any disk ---

zeroout() { # <disk>…: the drive writes the zeros by itself, where it knows how
  local disk
  for disk; do limited "$erase_limit" blkdiscard --force --zeroout --verbose "/dev/$disk"; done
}

discard() { # <disk>…: what a drive does with blocks it no longer needs is its own affair, so this alone proves nothing
  local disk
  for disk; do limited "$erase_limit" blkdiscard --force --verbose "/dev/$disk"; done
}

metadata() { # <disk>…
  local disk traces
  for disk; do
    wipe_disk "$disk"
    traces=$(traces_of "$disk")
    [[ -z $traces ]] || { printf 'signatures are still there: %s\n' "$traces" && return 1; }
  done
}

overwrite() { # <disk>…: zeros, past the page cache, so that an error is this program's and not lost
  local disk writer=
  for disk; do
    limited "$erase_limit" dd if=/dev/zero of="/dev/$disk" bs=4M count="${disk_fact["$disk bytes"]}" \
      iflag=count_bytes oflag=direct conv=fsync,notrunc status=none &
    writer=$!
    # What ends this job ends the writer too.
    trap 'kill "$writer" 2>/dev/null || true' EXIT
    watch_overwrite "$disk" "$writer" "$(sectors_written "$disk")" "$(attribute "$disk" size)"
    wait "$writer"
  done
}

watch_overwrite() { # <disk> <pid of the writer> <sectors written before> <sectors in all>
  local -
  set +x
  while kill -0 "$2" 2>/dev/null; do
    report_percent $((($(sectors_written "$1") - $3) * 100 / $4))
    sleep 0.5
  done
}

sectors_written() { # <disk>: since it appeared
  local fields
  read -ra fields <"/sys/class/block/$1/stat"
  printf '%s' "${fields[6]}"
}
