#!/usr/bin/env bash
# Inside the namespaces that ramdisk.bats makes: two links with DHCP servers, the ramdisk's network script in the
# ramdisk's own tree, and then a command there: links.bash ROOT FILE-WITH-KERNEL-ARGUMENTS COMMAND
set -euo pipefail

readonly root=$1

link() { # <name> <number>: its other end, in another namespace, is 10.<number>.0.1
  local other
  unshare --net sleep infinity &
  other=$!
  until [[ $(readlink "/proc/$other/ns/net") != $(readlink /proc/self/ns/net) ]]; do sleep 0.02; done
  ip link add "$1" address "02:00:00:00:00:b$(($2 - 1))" type veth peer name far netns "$other"
  nsenter --target "$other" --net sh -c "ip address add 10.$2.0.1/24 dev far; ip link set far up"
  cat >"$root/run/udhcpd$2" <<END
interface far
start 10.$2.0.100
end 10.$2.0.100
lease_file /run/leases$2
option subnet 255.255.255.0
option router 10.$2.0.1
option dns 10.$2.0.1
option ntpsrv 10.$2.0.1 10.$2.0.2
END
  : >"$root/run/leases$2"
  nsenter --target "$other" --net chroot "$root" udhcpd -f "/run/udhcpd$2" &>/dev/null &
}

both_have_an_address() {
  (($(compgen -G "$root/run/net/*/address" | wc -l) == 2))
}

main() {
  local deadline
  mount -t proc proc /proc
  mount -t sysfs sysfs "$root/sys"
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/run"
  mount --bind /dev "$root/dev"
  mount --bind "$2" "$root/proc/cmdline"
  rm -f "$root/etc/resolv.conf"
  printf '(none)' >/proc/sys/kernel/hostname
  link eth0 1
  link eth1 2
  chroot "$root" /usr/lib/ur/network
  # The script waits for the first. With an address by argument, there is no second to come.
  deadline=$((SECONDS + 15))
  until both_have_an_address || grep -q ip= "$2"; do
    ((SECONDS < deadline)) || break
    sleep 0.05
  done
  chroot "$root" /bin/sh -c "$3"
}

main "$@"
