# shellcheck shell=bash
# Erasing by an NVMe controller's own means. Where versions of nvme-cli disagree about words and output, the command is
# sent and the answer read as the standard has it: numbers at fixed places.

nvme_controller() { # <disk>: prints its controller's device; with native multipath a namespace belongs to a subsystem
  local device
  device=$(readlink -f "/sys/class/block/$1/device")
  [[ ${device##*/} != nvme-subsys* ]] || device=$(compgen -G "$device/nvme[0-9]*" | grep -E '/nvme[0-9]+$' | head -n 1)
  printf '/dev/%s' "${device##*/}"
}

nvme_namespaces() { # <disk>: prints the disks of the same controller or subsystem
  local other
  for other in /sys/block/nvme*n*; do
    other=${other##*/}
    [[ $(attribute "$other" hidden) != 1 ]] || continue
    [[ ! /sys/class/block/$other/device -ef /sys/class/block/$1/device ]] || printf '%s\n' "$other"
  done
}

nvme_number() { # <file> <offset> <bytes>: prints the little-endian number there
  od --address-radix=n --endian=little --format="u$3" --skip-bytes="$2" --read-bytes="$3" "$1" | tr -d ' '
}

nvme_offers() { # <disk>: prints what Identify Controller says it can do
  local identity=$scratch/$1.identity controller
  controller=$(nvme_controller "$1")
  limited 60 nvme id-ctrl --raw-binary "$controller" >"$identity" || return
  (($(nvme_number "$identity" 328 4) & 1)) && printf '%s\n' nvme-sanitize-crypto
  (($(nvme_number "$identity" 328 4) & 2)) && printf '%s\n' nvme-sanitize-block
  (($(nvme_number "$identity" 256 2) & 2)) || return 0
  nvme_all_attached "$controller" || {
    log "/dev/$1: no nvme-format: $controller has namespaces that are attached nowhere, and their data would stay"
    return 0
  }
  (($(nvme_number "$identity" 524 1) & 4)) && printf '%s\n' nvme-format-crypto
  printf '%s\n' nvme-format-user
}

nvme_all_attached() { # <controller>: succeeds if no namespace exists that is not attached to it
  local all
  # A controller without namespace management rejects the question, and has none to hide.
  all=$(limited 60 nvme list-ns "$1" --all 2>/dev/null) || return 0
  (($(wc -l <<<"$all") <= $(limited 60 nvme list-ns "$1" | wc -l)))
}

nvme_sanitize_crypto() { nvme_sanitize 4 "$@"; }

nvme_sanitize_block() { nvme_sanitize 2 "$@"; }

nvme_sanitize() { # <action> <disk>…: of all namespaces at once
  local controller
  controller=$(nvme_controller "$2")
  # Bit 3 lets the controller leave the failed state if it must; without it a failure makes a brick.
  limited 60 nvme admin-passthru "$controller" --opcode=0x84 --cdw10=$(($1 | 8))
  # The command only starts it; some tools have taken that for the end.
  wait_until "$erase_limit" nvme_sanitize_ended "$controller" || {
    printf 'the sanitize was not over after %d s\n' "$erase_limit"
    return 1
  }
  ((sanitize_state == 1 || sanitize_state == 4)) || {
    printf 'the sanitize log says state %d: it failed\n' "$sanitize_state"
    return 1
  }
}

nvme_sanitize_ended() { # <controller>: reads the sanitize log; sets sanitize_state: 1 and 4 done, 2 under way, 3 failed
  local page=$scratch/$unit.sanitize
  limited 60 nvme get-log "$1" --log-id=0x81 --log-len=20 --raw-binary >"$page" || return 1
  report_percent $(($(nvme_number "$page" 0 2) * 100 / 65536))
  sanitize_state=$(($(nvme_number "$page" 2 2) & 7))
  ((sanitize_state != 2))
}

nvme_format_crypto() { nvme_format 2 "$@"; }

nvme_format_user() { nvme_format 1 "$@"; }

nvme_format() { # <secure erase setting> <disk>…: never 0, which erases nothing; and each namespace keeps its format
  local disk
  for disk in "${@:2}"; do
    limited "$erase_limit" nvme format "/dev/$disk" --ses="$1" --force --timeout=$((erase_limit * 1000))
  done
}
