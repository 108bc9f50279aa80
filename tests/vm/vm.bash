# Virtual machines for the scenarios, a few words each. A machine is a folder with its console, its disks and its
# process id. It is emulated without KVM, so that it works wherever this does; its way to the broker is QEMU's user
# network, in which this host is 10.0.2.2.

readonly most_machines=6
attached=()

load_ramdisk() { # minimal|full|zfs
  cd "$BATS_TEST_DIRNAME/../.." || return
  [[ -x ${UR_BIN_DIR-}/ur ]] || { printf 'UR_BIN_DIR must name the directory with ur and ur-agent: make vm sets it\n' >&2 && return 1; }
  export PATH=$UR_BIN_DIR:$PATH RAMDISK=$PWD/target/ramdisk${SUITE:+-$SUITE}/$1 MACHINES=$BATS_FILE_TMPDIR/machines
  mkdir -p "$MACHINES"
  [[ -e $RAMDISK/initramfs ]] || { printf 'there is no %s: run make ramdisk PROFILE=%s\n' "$RAMDISK" "$1" >&2 && return 1; }
}

kernel_arguments() {
  # On a busy host emulated timers are late, and a kernel that checks them gives up.
  printf 'quiet no_timer_check cryptomgr.notests console=ttyS0 panic=5 ur.amqp=%s %s' "${UR_AMQP_URL/127.0.0.1/10.0.2.2}" "${ARGUMENTS-}"
}

uuid_of() { # <number>
  printf '00000000-0000-4000-8000-%012d' "$1"
}

power_on() { # <number> [<QEMU argument>…]: machine <number> has that UUID and MAC unless the arguments say otherwise
  local machine=$MACHINES/$1 others=("$MACHINES"/*/pid)
  ((${#others[@]} < most_machines)) || { printf 'more than %d machines at a time\n' "$most_machines" >&2 && return 1; }
  mkdir -p "$machine"
  [[ -p $machine/monitor.in ]] || mkfifo "$machine"/monitor.{in,out}
  # Descriptor 3 is bats' own; a process that holds it keeps bats waiting.
  qemu-system-x86_64 -accel tcg -smp 1 -m "${MEMORY:-512M}" -display none -monitor "pipe:$machine/monitor" \
    -chardev "file,id=console,path=$machine/console,append=on" -serial chardev:console \
    -uuid "$(uuid_of "$1")" -nic "user,id=net0,model=virtio-net-pci,mac=52:54:00:00:00:0$1" "${attached[@]}" "${@:2}" \
    </dev/null &>"$machine/qemu" 3>&- &
  attached=()
  printf '%s\n' "$!" >"$machine/pid"
}

boot() { # <number> [<QEMU argument>…]: with the ramdisk, and $ARGUMENTS for its kernel
  power_on "$1" -kernel "$RAMDISK/vmlinuz" -initrd "$RAMDISK/initramfs" -append "$(kernel_arguments)" "${@:2}"
}

power_off() { # <number>: at once, as by the plug; its disks are free afterwards
  local pid
  pid=$(<"$MACHINES/$1/pid")
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm "$MACHINES/$1/pid"
}

power_off_all() {
  local pid
  for pid in "$MACHINES"/*/pid; do
    [[ ! -e $pid ]] || power_off "$(basename "$(dirname "$pid")")"
  done
}

uefi() { # <number>: the machine that is powered on next has UEFI, whose variables it keeps when it is off
  mkdir -p "$MACHINES/$1"
  [[ -e $MACHINES/$1/variables ]] || cp /usr/share/OVMF/OVMF_VARS_4M.fd "$MACHINES/$1/variables"
  attached+=(-drive "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
    -drive "if=pflash,format=raw,file=$MACHINES/$1/variables")
}

monitor() { # <number> <command of QEMU's monitor>: such as 'set_link net0 off'; prints what it answers
  local machine=$MACHINES/$1 answer
  printf '%s\nprint 42\n' "$2" >"$machine/monitor.in"
  # It echoes the command as if it were typed, letter by letter; the second one tells where the answer ends.
  until [[ ${answer-} == 0x2a ]]; do
    read -t 30 -r answer <>"$machine/monitor.out" || { printf 'machine %s: the monitor is silent\n' "$1" >&2 && return 1; }
    answer=${answer%$'\r'}
    [[ $answer == *'(qemu) '* || $answer == QEMU*monitor* || $answer == 0x2a ]] || printf '%s\n' "$answer"
  done
}

on_console() { # <number> <text>: whether the machine has said that
  grep -qaF -e "$2" "$MACHINES/$1/console"
}

attach() { # <name> <size> <QEMU device>: a disk at the machine that is powered on next; of zeros unless it is there
  [[ -e $MACHINES/$1.img ]] || truncate --size "$2" "$MACHINES/$1.img"
  attached+=(-drive "file=$MACHINES/$1.img,format=raw,if=none,id=$1" -device "$3,drive=$1")
}

tell_consoles() { # after a test that failed
  [[ -z ${BATS_TEST_COMPLETED-} ]] || return 0
  tail -n 25 "$MACHINES"/*/{qemu,console} 2>/dev/null || true
}

await() { # <seconds> <command>…: until it succeeds
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null; do
    if ! all_run || ((SECONDS >= deadline)); then
      printf 'in vain: %s\n' "$*" >&2
      return 1
    fi
    sleep 0.5
  done
}

all_run() { # an argument that QEMU does not like ends it at once
  local pid
  for pid in "$MACHINES"/*/pid; do
    kill -0 "$(<"$pid")" || return 1
  done
}

node() { # <number> <jq filter>: what the machine says of itself; fails if there is no such thing
  local attempt said
  # An emulated machine may be so slow that the search does not wait for it.
  for attempt in 1 2 3 4 5; do
    said=$(ur nodes -J 2>/dev/null | jq -c --arg uuid "$(uuid_of "$1")" 'select(.UUID == $uuid)')
    [[ -z $said ]] || break
  done
  # Without input jq would be content.
  [[ -n $said ]] && jq -er "$2" <<<"$said"
}

are_there() { # <number of nodes>
  (($(ur nodes -J 2>/dev/null | wc -l) == $1))
}
