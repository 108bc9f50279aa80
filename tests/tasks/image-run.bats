#!/usr/bin/env bats
# image::run on a disk with an image, in the world in which no task can take this machine down. kexec is a shim, as are
# systemctl and reboot: they write down that they were called. What a real kernel makes of it is shown by tests/vm.

# shellcheck disable=SC2016 # programs for other shells

bats_require_minimum_version 1.5.0
load machine
load world

setup() {
  ((EUID == 0)) || skip 'only root can make loop devices'
  losetup --find >/dev/null 2>&1 || skip 'this kernel has no loop devices to give'
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  LOG=$BATS_TEST_TMPDIR/log
  DISKS=()
  make_world
  MACHINE=$INIT
  export KEXEC=$WORLD/kexec
  mkdir "$KEXEC"
  ln -s "$BATS_TEST_DIRNAME/shims/kexec-shim" "$WORLD/bin/kexec"
  shim systemctl 0
  # A kernel with kexec, and the machine's name, both of which this machine may lack; and systemd.
  in_world bash -euc '
    mkdir -p /run/systemd/system /run/class
    mount -t tmpfs none /sys/kernel
    echo 0 >/sys/kernel/kexec_loaded
    mount --bind /sys/class /run/class
    mount -t tmpfs none /sys/class
    for class in /run/class/*; do
      mkdir "/sys/class/${class##*/}"
      mount --bind "$class" "/sys/class/${class##*/}"
    done
    mkdir -p /sys/class/dmi
    mount -t tmpfs none /sys/class/dmi
    mkdir /sys/class/dmi/id
    echo Maker >/sys/class/dmi/id/sys_vendor
    echo "Model 7" >/sys/class/dmi/id/product_name'
  add_image
}

teardown() {
  end_world
  MACHINE=''
  teardown_machine
}

add_image() { # a disk with an image as Debian's installer makes one, /boot being a partition of its own
  local tree=$BATS_TEST_TMPDIR/tree version
  mkdir -p "$tree/grub"
  cp "$BATS_TEST_DIRNAME/../fixtures/grub/debian.cfg" "$tree/grub/grub.cfg"
  for version in 6.1.0-13-amd64 6.1.0-27-amd64; do
    printf 'kernel %s' "$version" >"$tree/vmlinuz-$version"
    printf 'initrd %s' "$version" >"$tree/initrd.img-$version"
  done
  add_disk 64M
  # shellcheck disable=SC2153 # add_disk sets it
  sfdisk --quiet "$DISK" <<<$'label: gpt\nsize=40M, name=boot\nsize=10M, name=root\n'
  partx --update "$DISK"
  mkfs.ext4 -q -U 11111111-2222-4333-8444-555555555555 -d "$tree" "${DISK}p1"
  mkswap --quiet "${DISK}p2"
}

run_image() { # [<parameter>=<value>…]: sets status, and output to the result
  cover_other_disks
  status=0
  output=$(in_world UR_JOB_DIR="$WORK" UR_REQUEST=this PT__installdir="$SCRIPTS" PT_disk="{\"name\":\"$DISK\"}" "${@/#/PT_}" \
    bash "$SCRIPTS/image/tasks/run.sh" 2>"$LOG" </dev/null 3>&-) || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
}

loaded() {
  in_world cat /sys/kernel/kexec_loaded
}

@test 'it answers, asks the agent for a reboot, and jumps when all replies are out, not before' {
  run_image
  ((status == 113))
  answer '[.method, .source, .entry, .kernel, .initrds[]] | join(" ")' \
    'kexec /grub/grub.cfg Debian GNU/Linux /vmlinuz-6.1.0-27-amd64 /initrd.img-6.1.0-27-amd64'
  answer .cmdline "$(<"$KEXEC/cmdline")"
  [[ $(<"$KEXEC/kernel") == 'kernel 6.1.0-27-amd64' && $(loaded) == 1 ]]
  [[ $(tr -d '\0' <"$KEXEC/initrd") == 'initrd 6.1.0-27-amd64' ]]
  # The process that stays behind polls.
  eventually grep -q rebooting "$WORK/trace"
  [[ ! -e $WORLD/called ]]
  touch "$JOB/rebooting"
  called 'systemctl --force kexec'
}

@test 'a jump that comes to nothing ends in a reboot, by force in the end' {
  run_image grace=1
  touch "$JOB/rebooting"
  called 'reboot -f'
  diff "$WORLD/called" - <<<$'systemctl --force kexec\nreboot \nreboot -f'
}

@test 'the disk is as it was, and nothing of it is mounted any more' {
  # A journal that a mount would replay.
  debugfs -w -R 'feature needs_recovery' "${DISK}p1" 2>/dev/null
  blockdev --flushbufs "$DISK"
  local before
  before=$(sha256sum <"$DISK")
  run_image
  answer .method kexec
  blockdev --flushbufs "$DISK"
  [[ $(sha256sum <"$DISK") == "$before" ]]
  run ! in_world grep -q "^$DISK" /proc/mounts
  [[ -z $(compgen -G "$WORK/scratch*") ]]
}

@test 'with --noop it says what it would do, and loads and leaves nothing' {
  run_image _noop=true
  ((status == 0))
  answer '[.method, .noop, .kernel] | join(" ")' 'kexec true /vmlinuz-6.1.0-27-amd64'
  [[ $(loaded) == 0 && $(left_behind) == 0 && ! -e $KEXEC/called ]]
}

@test 'what it does not understand is left to a reboot, with the reason' {
  mkfs.ext4 -qF "${DISK}p1"
  in_world sh -c 'echo 1 >/sys/kernel/kexec_loaded' # by whomever
  run_image
  ((status == 113))
  answer .method reboot
  answer .no_kexec "there is neither a grub.cfg nor an entry of the Boot Loader Specification; not read: ${DISK}p2 (swap)"
  # Else that reboot would be a jump.
  [[ $(loaded) == 0 ]]
  touch "$JOB/rebooting"
  eventually grep -q grace "$WORK/trace" || eventually grep -q 'sleep 120' "$WORK/trace"
  [[ ! -e $WORLD/called ]]
}

@test 'method=kexec fails where there is nothing to jump into, and nothing is done' {
  mkfs.ext4 -qF "${DISK}p1"
  run_image method=kexec
  ((status == 1))
  answer ._error.kind image/no-target
  [[ $(left_behind) == 0 && $(loaded) == 0 ]]
}

@test 'method=reboot asks no disk' {
  run_image method=reboot disk='{"serial":"none"}'
  ((status == 113))
  answer .method reboot
  answer .no_kexec 'method says so'
}

@test 'a kernel that does not know the one call is asked by the other' {
  echo --kexec-file-syscall >"$KEXEC/refuses"
  run_image
  answer .method kexec
  grep -q -e --kexec-syscall "$KEXEC/called"
}

@test 'a kernel that is locked down is rebooted, and its words are told' {
  printf '%s\n' --kexec-file-syscall --kexec-syscall >"$KEXEC/refuses"
  run_image
  ((status == 113))
  answer .method reboot
  [[ $(jq -r .no_kexec <<<"$output") == *'Operation not permitted'* ]]
  run_image method=kexec
  ((status == 1))
  answer ._error.kind image/no-target
}

@test 'machines and drivers that deny names are rebooted' {
  run_image 'deny=["machine:Maker Model ?"]'
  answer .no_kexec 'deny has machine:Maker Model ?'
  run_image 'deny=["machine:Model 7","driver:none_such"]'
  answer .method kexec
  in_world sh -euc 'mount -t tmpfs none /sys/bus/pci; mkdir -p /sys/bus/pci/devices/0000:00:01.0; ln -s ../../drivers/mlx4_core /sys/bus/pci/devices/0000:00:01.0/driver'
  run_image 'deny=["driver:mlx4_*"]'
  answer .no_kexec 'deny has driver:mlx4_*'
}

@test 'where nothing would jump, or the kernel must not, it reboots' {
  in_world rmdir /run/systemd/system
  run_image
  answer .method reboot
  [[ $(jq -r .no_kexec <<<"$output") == 'nothing here starts a loaded kernel'* ]]
  in_world rm /sys/kernel/kexec_loaded
  run_image
  answer .no_kexec 'the running kernel has no kexec'
}

@test 'arguments are added, and the console only if asked' {
  run_image append='a=b c' _noop=true
  [[ $(jq -r .cmdline <<<"$output") == *'ttyS0,115200 quiet a=b c' ]]
  printf 'quiet console=hvc0 panic=1 console=tty9\n' >"$BATS_TEST_TMPDIR/cmdline"
  in_world mount --bind "$BATS_TEST_TMPDIR/cmdline" /proc/real/cmdline
  run_image append='a=b c' keep_console=true _noop=true
  [[ $(jq -r .cmdline <<<"$output") == *'ttyS0,115200 quiet console=hvc0 console=tty9 a=b c' ]]
}

@test 'it does nothing while other jobs run, or if data do not reach the disks' {
  mkdir "$WORLD/jobs/erase-7"
  touch "$WORLD/jobs/erase-7/pid"
  run_image
  ((status == 1))
  answer ._error.kind power/busy
  rm -r "$WORLD/jobs/erase-7"
  shim sync 1
  run_image
  ((status == 1))
  answer ._error.kind power/not-flushed
  [[ $(loaded) == 0 && $(left_behind) == 0 ]]
}

@test 'a disk that is not named is not guessed among several' {
  add_disk 64M
  cover_other_disks
  run_image disk=
  ((status == 1))
  answer ._error.kind ur/hint
}

@test 'it starts jq a few times' {
  starts_jq_at_most 6 run_image _noop=true
  answer .method kexec
  starts_jq_at_most 6 run_image
  answer .method kexec
}
