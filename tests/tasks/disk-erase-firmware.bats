#!/usr/bin/env bats
# disk::erase, on drives whose firmware is played by shims; what they do to their medium, they do to a loop device.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031,SC2153

bats_require_minimum_version 1.5.0
load machine
load erase

# NVMe.

@test 'NVMe: sanitize is polled to its end, and erases every namespace' {
  add_disk
  secret "${DISKS[@]}"
  pretend nvme "${DISKS[@]}"
  erase
  ((status == 0))
  verdict erased
  answer '.disks | map(.method) | join(" ")' 'nvme-sanitize-crypto nvme-sanitize-crypto'
  is_blank "${DISKS[0]}"
  is_blank "${DISKS[1]}"
  # One command, crypto erase with unrestricted exit, for both.
  diff "$DRIVE/sanitized" - <<<'--cdw10=12'
}

@test 'NVMe: the serial number of a controller confirms all of its namespaces that were chosen' {
  add_disk
  pretend nvme "${DISKS[@]}"
  erase 'confirm_serials=["NV0001"]'
  ((status == 0))
  verdict erased
}

@test 'NVMe: a namespace that was not chosen refuses the others of its controller' {
  add_disk
  pretend nvme "${DISKS[@]}"
  DRIVES=(/dev/nvme0n1)
  erase
  refused 'may erase /dev/nvme0n2 too'
}

@test 'NVMe: a sanitize that succeeds and erases nothing is found out, and the next method erases' {
  secret "$DISK"
  pretend nvme "$DISK"
  echo lies >"$DRIVE/sanitize"
  erase
  ((status == 0))
  answer '.disks[0].attempts | map([.method, .exit, .proved]) | tojson' \
    '[["nvme-sanitize-crypto",0,false],["nvme-sanitize-block",0,false],["nvme-format-crypto",0,true]]'
  is_blank "$DISK"
}

@test 'NVMe: a drive all of whose commands lie has failed, with the samples to show' {
  secret "$DISK"
  pretend nvme "$DISK"
  echo lies | tee "$DRIVE/sanitize" >"$DRIVE/format"
  erase
  ((status != 0))
  answer '._error.kind' disk/failed
  verdict failed 'marks that were written before are still there'
  answer '.disks[0].samples.survived' 6
  answer '.disks[0].method, .disks[0].level' $'none\nnone'
}

@test 'NVMe: an opcode that the drive refuses is an attempt with its exit code and what was said' {
  pretend nvme "$DISK"
  echo refuses >"$DRIVE/sanitize"
  erase
  ((status == 0))
  answer '.disks[0].attempts[0] | .exit, (.said | contains("Invalid Command Opcode"))' $'1\ntrue'
  answer '.disks[0].method' nvme-format-crypto
}

@test 'NVMe: a sanitize whose log says that it failed has failed' {
  pretend nvme "$DISK"
  echo fails >"$DRIVE/sanitize"
  erase
  answer '.disks[0].attempts[0] | .exit, (.said | contains("state 3"))' $'1\ntrue'
}

@test 'NVMe: without sanitize each namespace is formatted, with a secure erase setting that is never 0' {
  add_disk
  secret "${DISKS[@]}"
  pretend nvme "${DISKS[@]}"
  echo 0 | tee "$DRIVE/sanicap" >"$DRIVE/fna"
  erase
  ((status == 0))
  answer '.disks[0].method' nvme-format-user
  diff "$DRIVE/formatted" - <<<$'/dev/nvme0n1 --ses=1\n/dev/nvme0n2 --ses=1'
  is_blank "${DISKS[0]}"
  is_blank "${DISKS[1]}"
}

@test 'NVMe: format is not enough where a namespace is attached nowhere' {
  pretend nvme "$DISK"
  echo 0 >"$DRIVE/sanicap"
  touch "$DRIVE/unattached"
  erase
  refused 'no method of level purge is to be had'
}

@test 'NVMe: a drive that offers nothing is refused, and told apart from one that fails' {
  pretend nvme "$DISK"
  echo 0 | tee "$DRIVE/sanicap" >"$DRIVE/oacs"
  erase
  refused 'no method of level purge'
}

# ATA.

@test 'ATA: sanitize is polled to its end' {
  secret "$DISK"
  pretend ata "$DISK"
  erase
  ((status == 0))
  answer '.disks[0].method' ata-sanitize-crypto
  is_blank "$DISK"
}

@test 'ATA: a command that the drive aborts is a failure although hdparm exits 0' {
  secret "$DISK"
  pretend ata "$DISK"
  echo aborts | tee "$DRIVE/sanitize" >"$DRIVE/erase"
  erase
  ((status != 0))
  verdict failed 'every method failed'
  answer '.disks[0].attempts | map(.exit) | unique | tojson' '[1]'
  answer '.disks[0].attempts[0].said | contains("sense data")' true
  still_secret "$DISK"
}

@test 'ATA: without sanitize it is the enhanced secure erase, and the drive ends unlocked' {
  secret "$DISK"
  pretend ata "$DISK"
  : >"$DRIVE/features"
  erase
  ((status == 0))
  answer '.disks[0].method' ata-secure-erase-enhanced
  is_blank "$DISK"
  run ! grep -E 'enabled|locked' "$DRIVE/security"
}

@test 'ATA: a bridge that answers "good" to everything and passes nothing on is found out at once' {
  secret "$DISK"
  pretend ata "$DISK"
  : >"$DRIVE/features"
  echo keeps >"$DRIVE/erase"
  erase
  ((status != 0))
  answer '.disks[0].attempts[0].said | contains("took no password")' true
  still_secret "$DISK"
}

@test 'ATA: a secure erase that ends well and erased nothing has failed' {
  secret "$DISK"
  pretend ata "$DISK"
  : >"$DRIVE/features"
  echo lies >"$DRIVE/erase"
  erase
  ((status != 0))
  verdict failed 'marks that were written before are still there'
}

@test 'ATA: a frozen drive is refused, and the log says what thaws it' {
  pretend ata "$DISK"
  : >"$DRIVE/features"
  printf 'supported enhanced frozen' >"$DRIVE/security"
  erase
  refused 'no method of level purge'
  grep -q 'frozen by the firmware of this machine; a power cycle' "$LOG"
}

@test 'ATA: a frozen drive with sanitize is erased: freezing locks only passwords' {
  secret "$DISK"
  pretend ata "$DISK"
  printf 'supported enhanced frozen' >"$DRIVE/security"
  erase
  ((status == 0))
  is_blank "$DISK"
}

@test 'ATA: a drive that an interrupted erase left locked is unlocked and erased' {
  secret "$DISK"
  pretend ata "$DISK"
  : >"$DRIVE/features"
  printf 'supported enhanced enabled locked' >"$DRIVE/security"
  printf 'NULL' >"$DRIVE/password"
  erase
  ((status == 0))
  answer '.disks[0].method' ata-secure-erase-enhanced
  is_blank "$DISK"
}

@test 'ATA: a drive locked by an unknown password has failed, and the verdict says why' {
  pretend ata "$DISK"
  : >"$DRIVE/features"
  printf 'supported enhanced enabled locked' >"$DRIVE/security"
  printf 'unknown' >"$DRIVE/password"
  erase
  ((status != 0))
  verdict failed 'locked by an unknown password'
}

@test 'ATA: without the enhanced secure erase a purge is refused, and a clear that asks for the plain one succeeds' {
  secret "$DISK"
  pretend ata "$DISK"
  : >"$DRIVE/features"
  printf 'supported' >"$DRIVE/security"
  erase
  refused 'no method of level purge'
  erase level=clear 'methods={"ata":["ata-secure-erase"]}'
  ((status == 0))
  is_blank "$DISK"
}

@test 'ATA: sectors hidden in a protected area refuse what does not reach them, and leave sanitize' {
  secret "$DISK"
  pretend ata "$DISK"
  echo '131072/262144, HPA is enabled' >"$DRIVE/sectors"
  erase level=clear
  refused 'of its sectors only 131072/262144, HPA is enabled'
  erase 'methods={"ata":["ata-sanitize-block"]}'
  ((status == 0))
  is_blank "$DISK"
}

@test 'ATA: a drive that does not say whether sectors are hidden is refused, unless it has no means to hide any' {
  pretend ata "$DISK"
  touch "$DRIVE/no-sectors"
  printf '\t   *\tHost Protected Area feature set\n' >"$DRIVE/features"
  erase level=clear
  refused 'does not say whether sectors of it are hidden'
  rm "$DRIVE/features"
  erase level=clear
  ((status == 0))
}

# SCSI.

@test 'SCSI: sanitize erases, with the first action that the drive has' {
  secret "$DISK"
  pretend scsi "$DISK"
  echo '1 2' >"$DRIVE/actions"
  erase
  ((status == 0))
  answer '.disks[0].method' scsi-sanitize-block
  is_blank "$DISK"
}

@test 'SCSI: a sanitize that says "completed" and erased nothing has failed' {
  secret "$DISK"
  pretend scsi "$DISK"
  echo lies >"$DRIVE/sanitize"
  erase
  ((status != 0))
  verdict failed 'marks that were written before are still there'
}

@test 'SCSI: a drive without sanitize is refused: FORMAT UNIT is no erase' {
  pretend scsi "$DISK"
  : >"$DRIVE/actions"
  erase
  refused 'no method of level purge'
}
