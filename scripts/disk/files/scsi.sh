# shellcheck shell=bash
# Erasing by a SCSI or SAS drive's own means: SANITIZE. FORMAT UNIT is not among them, because drives say "good" to it
# and keep the data.

scsi_offers() { # <disk>: prints the service actions of SANITIZE that it says it has
  local action
  for action in 3:crypto 2:block 1:overwrite; do
    # A drive that does not answer the question does not offer it.
    if limited 60 sg_opcodes --opcode="0x48,${action%:*}" "/dev/$1" 2>/dev/null | grep -qi 'supported \['; then
      printf 'scsi-sanitize-%s\n' "${action#*:}"
    fi
  done
}

scsi_sanitize_crypto() { scsi_sanitize "$1" --crypto; }

scsi_sanitize_block() { scsi_sanitize "$1" --block; }

scsi_sanitize_overwrite() { scsi_sanitize "$1" --overwrite --zero; }

scsi_sanitize() { # <disk> <sg_sanitize's argument>…: it polls the drive until the end
  limited "$erase_limit" sg_sanitize --quick "${@:2}" "/dev/$1"
}
