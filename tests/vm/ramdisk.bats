#!/usr/bin/env bats
# The ramdisk as a file, and its network script on links of a network namespace. No machine is booted.

setup_file() {
  export RAMDISKS=$BATS_TEST_DIRNAME/../../target/ramdisk${SUITE:+-$SUITE}
  mkdir "$BATS_FILE_TMPDIR/root"
  zstd -dc "$RAMDISKS/minimal/initramfs" | (cd "$BATS_FILE_TMPDIR/root" && cpio --quiet -idm)
}

setup() {
  cd "$BATS_TEST_DIRNAME/../.." || return
  AGENT=$UR_BIN_DIR/ur-agent
}

@test 'the same packages and agent make the same bytes' {
  export SOURCE_DATE_EPOCH=1700000000
  local directory
  for directory in one two; do
    mkdir "$BATS_TEST_TMPDIR/$directory"
    ln -s "$(readlink -f "$RAMDISKS/packages")" "$BATS_TEST_TMPDIR/$directory/packages"
    TMPDIR=$BATS_TEST_TMPDIR/$directory boot/ramdisk minimal "$AGENT" "$BATS_TEST_TMPDIR/$directory"
    # Another second, another order in which the file system lists names.
    touch "$BATS_TEST_TMPDIR/$directory"/*
  done
  cmp "$BATS_TEST_TMPDIR"/{one,two}/minimal/initramfs
  cmp "$BATS_TEST_TMPDIR"/{one,two}/minimal/vmlinuz
}

@test 'the minimal one has at most 40 MB' {
  local bytes
  bytes=$(cat "$RAMDISKS"/minimal/{vmlinuz,initramfs} | wc -c)
  ((bytes <= 40 * 1000 * 1000))
}

@test 'the full one has the programs that the tasks need, with the libraries that these need' {
  local root=$BATS_TEST_TMPDIR/full needed
  mkdir "$root"
  zstd -dc "$RAMDISKS/full/initramfs" | (cd "$root" && cpio --quiet -idm)
  # ZFS is no package of Debian proper.
  needed=$(jq -r '.extensions.ur.needs[]?' scripts/*/tasks/*.json | sort -u | grep -vxE 'zpool|zfs' | paste -sd ' ')
  run chroot "$root" /bin/sh -c "
    for program in $needed nvme hdparm sg_sanitize mdadm lvm kexec ipmitool lldpcli chronyd efibootmgr; do
      command -v \$program >/dev/null || echo \"no \$program\"
    done
    for file in /usr/bin/* /usr/sbin/*; do
      LD_TRACE_LOADED_OBJECTS=1 /lib64/ld-linux-x86-64.so.2 \$file 2>&1 | grep '=> not found' && echo \"for \$file\"
    done; true"
  printf '%s\n' "$output"
  [[ -z $output ]]
}

# Runs the ramdisk's network script with a kernel command line, then a command, where eth0 and eth1 are the only links,
# each with a DHCP server at its other end; gives the command's output.
on_links() { # <kernel command line> <command>
  printf '%s\n' "$1" >"$BATS_TEST_TMPDIR/cmdline"
  unshare --net --mount --pid --uts --fork --kill-child \
    bash "$BATS_TEST_DIRNAME/links.bash" "$BATS_FILE_TMPDIR/root" "$BATS_TEST_TMPDIR/cmdline" "$2" 3>&-
}

@test 'without arguments every NIC asks by DHCP' {
  run on_links 'quiet' 'ip address'
  printf "%s\n" "$output"
  [[ $output == *eth0*10.1.0.100/24* && $output == *eth1*10.2.0.100/24* ]]
}

@test 'the best route is that of the NIC that the machine booted from' {
  run on_links 'BOOTIF=01-02-00-00-00-00-B1' 'ip route show default; cat /etc/resolv.conf'
  printf "%s\n" "$output"
  [[ $output == 'default via 10.2.0.1 '*'default via 10.1.0.1 '*'nameserver 10.2.0.1'*'nameserver 10.1.0.1'* ]]
}

@test 'an address by argument is set, and nobody is asked for another' {
  run on_links 'ip=10.1.0.7::10.1.0.1:255.255.255.128:n7:eth0:none:10.1.0.53' \
    'ip address; ip route show default; cat /etc/resolv.conf; hostname'
  printf "%s\n" "$output"
  [[ $output == *eth0*10.1.0.7/25*'default via 10.1.0.1 dev eth0'*'nameserver 10.1.0.53'*n7 ]]
  printf "%s\n" "$output"
  [[ $output != *10.2.0.100* && $output != *10.1.0.100* ]]
}

@test 'an address without an interface is for the NIC that the machine booted from' {
  run on_links 'BOOTIF=01-02-00-00-00-00-b1 ip=10.2.0.7::10.2.0.1:24:n7::none' 'ip address show dev eth1'
  printf "%s\n" "$output"
  [[ $output == *10.2.0.7/24* && $output != *10.2.0.100* ]]
}

@test 'DHCP says which servers tell the time' {
  run on_links 'ip=eth1:dhcp' 'cat /run/net/*/ntp'
  printf "%s\n" "$output"
  [[ $output == $'10.2.0.1\n10.2.0.2' ]]
}

@test 'drivers that are never done loading do not silence the agent' {
  run chroot "$BATS_FILE_TMPDIR/root" /usr/lib/ur/settle
  ((status == 0))
  [[ $output == *'without what they bring'* ]]
  mkdir -p "$BATS_FILE_TMPDIR/root/run"
  : >"$BATS_FILE_TMPDIR/root/run/drivers"
  run chroot "$BATS_FILE_TMPDIR/root" /usr/lib/ur/settle
  ((status == 0))
  [[ -z $output ]]
}
