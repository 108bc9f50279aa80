# shellcheck shell=bash
# Helpers of the tests of disk::erase: an erase of all the machine's disks, a secret on them, and a look whether it is gone.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031,SC2153

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

refused() { # <words of the reason>
  ((status != 0))
  answer '._error.kind' disk/refused
  [[ $(jq -r '._error.msg' <<<"$output") == *"$1"* ]]
}
