#!/usr/bin/env bats
# disk::erase, on real block devices.

# Each test is a subshell, as it should be.
# shellcheck disable=SC2030,SC2031,SC2153

bats_require_minimum_version 1.5.0
load machine
load erase

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
  export UR_JOB_DIR=$BATS_TEST_TMPDIR/work/r1/work UR_REQUEST=r1 UR_NODE=n1
  mkdir -p "$UR_JOB_DIR" "$BATS_TEST_TMPDIR/jobs/r1"
  touch "$BATS_TEST_TMPDIR/jobs/r1/pid"
  printf '{"message":{"origin":{"user":"alice"}}}' >"$BATS_TEST_TMPDIR/jobs/r1/request.json"
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

@test 'an erase that is told to end tells which disks it had done, and leaves no eraser behind' {
  local good=$DISK pid
  add_disk
  SHIMS=$BATS_TEST_TMPDIR/shims
  mkdir "$SHIMS"
  # A drive that never ends.
  printf '#!/bin/sh\ncase "$*" in *of=%s*bs=4M*) exec sleep 600 ;; esac\nexec /usr/bin/dd "$@"\n' "$DISK" >"$SHIMS/dd"
  chmod +x "$SHIMS/dd"
  export UR_PROGRESS=$BATS_TEST_TMPDIR/progress
  erase level=clear 'methods={"loop":["overwrite"]}' >"$BATS_TEST_TMPDIR/output" 3>&- &
  pid=$!
  eventually grep -q "${good#/dev/} 100%" "$UR_PROGRESS"
  kill -TERM "$(pgrep --oldest --ns "$MACHINE" --nslist mnt --exact bash)"
  wait "$pid" || true
  output=$(tail -n 1 "$BATS_TEST_TMPDIR/output")
  answer ".disks[] | select(.path == \"$good\") | .verdict" erased
  answer ".disks[] | select(.path == \"$DISK\") | .verdict, .reason" $'failed\ninterrupted, may be half erased'
  run ! pgrep --ns "$MACHINE" --nslist mnt 'bash|timeout'
}

@test 'a full job directory does not end an erase' {
  export UR_PROGRESS=/dev/full
  erase level=clear
  ((status == 0))
  verdict erased
}

@test 'more samples than a small disk has places are as many as it has' {
  add_disk 1M
  DISKS=("$DISK")
  erase level=clear samples=4096
  ((status == 0))
  answer '.disks[0].verdict, .disks[0].samples.planted' $'erased\n256'
}

@test 'jq, which is slow to start, is started 5 times at most' {
  starts_jq_at_most 5 erase level=clear _noop=true
  verdict would-erase
  starts_jq_at_most 5 erase level=clear
  verdict erased
}
