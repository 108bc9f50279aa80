# shellcheck shell=bash
# Small images for the tests of image tasks, on the server's $WWW.

make_image() { # <name> [<size>]: a raw image with a GPT, a FAT as EFI system partition and a partition of random data
  local file=$WWW/$1
  truncate --size "${2:-24M}" "$file"
  sgdisk --new=1:2048:+2M --typecode=1:ef00 --new=2:0:0 "$file" >/dev/null
  mkfs.vfat --offset 2048 "$file" 2048 >/dev/null 2>&1
  head -c 18M /dev/urandom | dd of="$file" bs=1M seek=4 conv=notrunc status=none
}

digits() { # <file on the server>: prints its sha256
  sha256sum "$WWW/$1" | cut -d ' ' -f 1
}

write_image() { # [<parameter>=<value>…]: to DISK, confirmed
  task image::write "disk={\"name\":\"$DISK\"}" "confirm_serials=[\"$(serial_of "$DISK")\"]" "$@"
}

has_image() { # <raw image on the server>: succeeds if DISK has all of it, but for the place of the backup of the table
  local image=$WWW/$1 bytes
  bytes=$(stat --format=%s "$image")
  # The header of the GPT, in the second sector, has the place of the backup, and a checksum of itself; the first sector
  # has the size of the disk in its protective table.
  cmp --bytes=446 "$image" "$DISK" && cmp --ignore-initial=1024 --bytes=$((bytes - 1024)) "$image" "$DISK"
}

has_no_table() { # succeeds if nothing finds a partition table on DISK
  blockdev --flushbufs "$DISK"
  [[ -z $(head -c 4M "$DISK" | tr -d '\0') && -z $(sfdisk --dump "$DISK" 2>/dev/null) ]] \
    && ! compgen -G "/sys/block/${DISK##*/}/${DISK##*/}p*"
}

limit_memory() { # <bytes>: from now on this test and what it starts have no more, page cache that cannot be given back included
  if [[ -w /sys/fs/cgroup/memory/tasks ]]; then
    CGROUP=/sys/fs/cgroup/memory/ur-test-$$
    mkdir "$CGROUP"
    printf '%d' "$1" >"$CGROUP/memory.limit_in_bytes"
  elif [[ " $(cat /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null) " == *' memory '* ]]; then
    CGROUP=/sys/fs/cgroup/ur-test-$$
    mkdir "$CGROUP"
    printf '%d' "$1" >"$CGROUP/memory.max"
    printf 0 >"$CGROUP/memory.swap.max" 2>/dev/null || true
  else
    skip 'no cgroup here limits memory'
  fi
  printf '%d' "$BASHPID" >"$CGROUP/cgroup.procs"
}

unlimit_memory() { # call it from teardown
  local pid
  [[ -n ${CGROUP:-} ]] || return 0
  while read -r pid; do
    printf '%d' "$pid" >"${CGROUP%/*}/cgroup.procs" 2>/dev/null || true
  done <"$CGROUP/cgroup.procs"
  rmdir "$CGROUP"
}

use_writer() { # from now on image::write finds ur-writer; sets WRITER to a directory in which the file `used` says that it did
  local built
  for built in "${UR_BIN_DIR:-}" "$BATS_TEST_DIRNAME"/../../target/*/release; do [[ ! -x $built/ur-writer ]] || break; done
  [[ -x $built/ur-writer ]] || skip 'ur-writer is not built: make build'
  WRITER=$BATS_TEST_TMPDIR/writer
  mkdir "$WRITER"
  printf '#!/bin/sh\n: >%q\nexec %q "$@"\n' "$WRITER/used" "$(cd "$built" && pwd)/ur-writer" >"$WRITER/ur-writer"
  chmod +x "$WRITER/ur-writer"
  PATH=$WRITER:$PATH
}
