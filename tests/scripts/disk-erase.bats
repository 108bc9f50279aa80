#!/usr/bin/env bats
# disk::erase, on real block devices, and on drives whose firmware is played by shims.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031,SC2153

bats_require_minimum_version 1.5.0
load machine

setup() {
  setup_machine
  add_disk
}

teardown() {
  teardown_machine
}

erase() { # <parameter>=<value>…: erases DISKS, or DRIVES where there are some, all confirmed
  local disk select=() serials=()
  for disk in "${DRIVES[@]:-${DISKS[@]}}"; do
    select+=("{\"name\":\"$disk\"}")
    case $disk in
      /dev/nvme*) serials+=('"NV0001"') ;;
      /dev/sd*) serials+=('"SD0001"') ;;
      *) serials+=("\"$(serial_of "$disk")\"") ;;
    esac
  done
  local IFS=,
  task disk::erase "select=[${select[*]}]" "confirm_serials=[${serials[*]}]" samples=6 timeout_per_disk=20 "$@"
}

secret() { # <disk>…: writes one into the middle of each
  local disk
  for disk; do printf 'a secret' | dd of="$disk" bs=1 seek=$((33 << 20)) conv=notrunc,fsync status=none; done
}

is_blank() { # <disk>
  sync "$1"
  blockdev --flushbufs "$1"
  cmp --bytes=$((64 << 20)) "$1" /dev/zero
}

still_secret() { # <disk>
  [[ $(dd if="$1" bs=1 skip=$((33 << 20)) count=8 iflag=nocache status=none) == 'a secret' ]]
}

verdict() { # <expected> [<words of the reason>]: of every disk
  answer '[.disks[].verdict] | unique | join(" ")' "$1"
  [[ $(jq -r '.disks[0].reason // ""' <<<"$output") == *"${2:-}"* ]]
}

@test 'clear leaves nothing but zeros' {
  secret "$DISK"
  erase level=clear
  ((status == 0))
  verdict erased
  is_blank "$DISK"
}

@test 'the certificate says which disk, which method, what was tried, and what was read back' {
  erase level=clear
  answer .level clear
  answer '.disks[0] | .path, .serial, .method, .level' "$DISK"$'\n'"$(serial_of "$DISK")"$'\nzeroout\nclear'
  answer '.disks[0].attempts | map([.method, .exit, .proved, (.seconds | type)]) | tojson' '[["zeroout",0,true,"number"]]'
  answer '.disks[0].samples | tojson' '{"planted":6,"unreadable":0,"survived":0,"nonzero":0}'
}

@test 'the certificate says who asked, if an agent has kept the request' {
  export UR_JOB_DIR=$BATS_TEST_TMPDIR UR_REQUEST=r1 UR_NODE=n1
  printf '{"message":{"origin":{"user":"alice"}}}' >"$UR_JOB_DIR/request.json"
  erase level=clear
  answer '.requested | tojson' '{"by":{"user":"alice"},"request":"r1","node":"n1"}'
}

@test 'an overwrite leaves nothing but zeros, to the last sector of an odd size' {
  add_disk $(((64 << 20) + 512 * 7))
  secret "${DISKS[@]}"
  erase level=clear 'methods={"loop":["overwrite"]}'
  ((status == 0))
  answer '.disks | map(.method) | unique | join(" ")' overwrite
  cmp "$DISK" <(head -c $(((64 << 20) + 512 * 7)) /dev/zero)
  is_blank "${DISKS[0]}"
}

@test 'a disk with 4096-byte sectors is erased like any other' {
  add_disk 64M 4096
  secret "$DISK"
  erase level=clear 'methods={"loop":["overwrite"]}'
  ((status == 0))
  is_blank "$DISK"
}

@test 'metadata wipes signatures, says so, and does not call it erased' {
  mkfs.ext4 -q "$DISK"
  secret "$DISK"
  erase level=metadata
  ((status == 0))
  verdict wiped
  [[ -z $(wipefs --noheadings "$DISK") ]]
  still_secret "$DISK"
}

@test 'express falls from what it has not to the next' {
  erase level=express
  ((status == 0))
  answer '.disks[0].method' discard
}

@test 'several disks are erased, each with a verdict of its own' {
  add_disk
  add_disk
  secret "${DISKS[@]}"
  erase level=clear parallel=2
  ((status == 0))
  answer '.disks | length' 3
  local disk
  for disk in "${DISKS[@]}"; do is_blank "$disk"; done
}

@test 'erasing twice does no harm' {
  erase level=clear
  erase level=clear
  verdict erased
}

@test 'progress reaches a hundred percent' {
  export UR_PROGRESS=$BATS_TEST_TMPDIR/progress
  erase level=clear
  jq -es 'all(.[]; (.percent | type) == "number" and (.eta | type) == "number" and (.msg | length) > 0)' "$UR_PROGRESS"
}

@test 'with --noop the plan is told, and nothing written' {
  secret "$DISK"
  sha256sum "$DISK" >"$BATS_TEST_TMPDIR/sum"
  task disk::erase "select=[{\"name\":\"$DISK\"}]" level=clear _noop=true
  ((status == 0))
  verdict would-erase
  answer '.disks[0].plan | join(" ")' 'zeroout overwrite'
  sha256sum --check --quiet "$BATS_TEST_TMPDIR/sum"
}

refused() { # <words of the reason>
  ((status != 0))
  answer '._error.kind' disk/refused
  [[ $(jq -r '._error.msg' <<<"$output") == *"$1"* ]]
}

@test 'purge is refused where a drive has no means for it: an overwrite is no purge' {
  secret "$DISK"
  erase
  refused 'no method of level purge is to be had'
  still_secret "$DISK"
}

@test 'a method that does not reach the level is refused' {
  erase level=clear 'methods={"loop":["discard"]}'
  refused 'discard does not reach the level clear'
}

@test 'a cluster file system on the second disk refuses the first too, before the first write' {
  add_disk
  sgdisk --new=1:0:+10M --new=2:0:0 --typecode=2:37AFFC90-EF7D-4E96-91C3-2D7AE055B174 "$DISK" >/dev/null
  secret "${DISKS[0]}"
  erase level=clear
  refused 'cluster file system'
  still_secret "${DISKS[0]}"
  answer ".disks[] | select(.path == \"${DISKS[0]}\") | .verdict" untouched
}

@test 'a serial number that was not confirmed refuses' {
  secret "$DISK"
  erase level=clear 'confirm_serials=[]'
  refused 'confirm_serials does not name it'
  still_secret "$DISK"
}

@test 'a medium that fails in the middle is reported as what it is, and the other disk is erased all the same' {
  local good=$DISK
  secret "$good"
  # A loop device whose file system is full answers with an I/O error.
  mkdir "$BATS_TEST_TMPDIR/small"
  mount -t tmpfs -o size=48M none "$BATS_TEST_TMPDIR/small"
  add_disk 64M 512 "$BATS_TEST_TMPDIR/small"
  erase level=clear 'methods={"loop":["overwrite"]}'
  umount --lazy "$BATS_TEST_TMPDIR/small"
  ((status != 0))
  answer '._error.kind' disk/failed
  answer ".disks[] | select(.path == \"$good\") | .verdict" erased
  answer ".disks[] | select(.path == \"$DISK\") | .verdict, (.attempts[0].said | contains(\"dd: error writing\"))" $'failed\ntrue'
  is_blank "$good"
}

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

@test 'ATA: a drive locked by an unknown password has failed, and the attempt says why' {
  pretend ata "$DISK"
  : >"$DRIVE/features"
  printf 'supported enhanced enabled locked' >"$DRIVE/security"
  printf 'unknown' >"$DRIVE/password"
  erase
  ((status != 0))
  answer '.disks[0].attempts[0].said | contains("a password that nobody here knows")' true
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
