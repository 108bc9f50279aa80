#!/usr/bin/env bats
# The boot target that image::run finds in an image: grub.cfg in the shapes of distributions, entries of the Boot Loader
# Specification, and what it must not guess. File systems are played by folders, which are looked at as mounts are.

# shellcheck disable=SC2016 # GRUB's variables

setup() {
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
  GRUB=$BATS_TEST_DIRNAME/../fixtures/grub
  export FIRMWARE=pc
  filesystems=()
}

filesystem() { # <name> <type> <UUID> <label>: a folder for one
  mkdir -p "$BATS_TEST_TMPDIR/$1"
  filesystems+=("$BATS_TEST_TMPDIR/$1 $2 $3 $4")
}

put() { # <file below the test's folder> [<content>]
  mkdir -p "$(dirname "$BATS_TEST_TMPDIR/$1")"
  printf '%s' "${2-$1}" >"$BATS_TEST_TMPDIR/$1"
}

target() { # sets target to what would be jumped into, and reason to why there is no such thing
  rm -rf "$BATS_TEST_TMPDIR/looked"
  mkdir "$BATS_TEST_TMPDIR/looked"
  run bash -euo pipefail -O inherit_errexit -O nullglob -c '
    for file in filesystems versions bls grub/{words,statements,commands,test,menu} boot-target; do source "$1/image/files/run/$file.sh"; done
    start_reading "$2"
    is_uefi() { [[ $FIRMWARE == efi ]]; }
    while read -r at type uuid label; do
      fs_at+=("$at") fs_type+=("$type") fs_uuid+=("$uuid") fs_label+=("$label")
    done < <(printf "%s\n" "${@:3}")
    read_target
    extract_files' - "$SCRIPTS" "$BATS_TEST_TMPDIR/looked" "${filesystems[@]}"
  printf '%s\n' "$output"
  target='' reason=''
  if [[ -e $BATS_TEST_TMPDIR/looked/reason ]]; then
    reason=$(<"$BATS_TEST_TMPDIR/looked/reason")
  else
    ((status == 0))
    target=$(<"$BATS_TEST_TMPDIR/looked/target.json")
  fi
  printf 'target %s, reason %s\n' "$target" "$reason"
}

is() { # <jq filter> <expected>
  diff <(printf '%s\n' "$2") <(jq -r "$1" <<<"$target")
}

debian() { # an image as Debian's installer makes one, with /boot on a partition of its own
  filesystem boot ext4 11111111-2222-4333-8444-555555555555 ''
  filesystem root ext4 33333333-2222-4333-8444-555555555555 ''
  mkdir -p "$BATS_TEST_TMPDIR/boot/grub"
  cp "$GRUB/debian.cfg" "$BATS_TEST_TMPDIR/boot/grub/grub.cfg"
  local version
  for version in 6.1.0-13-amd64 6.1.0-27-amd64; do
    put "boot/vmlinuz-$version"
    put "boot/initrd.img-$version"
  done
}

grubenv() { # <file> <line>…
  put "$1" "$(printf '# GRUB Environment Block\n%s\n' "${@:2}")"
}

@test "Debian: the first entry, if none is saved" {
  debian
  target
  is .entry 'Debian GNU/Linux'
  is .source /grub/grub.cfg
  is .kernel /vmlinuz-6.1.0-27-amd64
  is '.initrds[]' /initrd.img-6.1.0-27-amd64
  is .cmdline 'BOOT_IMAGE=/vmlinuz-6.1.0-27-amd64 root=/dev/vda1 ro console=tty0 console=ttyS0,115200 quiet'
  [[ $(<"$BATS_TEST_TMPDIR/looked/kernel") == boot/vmlinuz-6.1.0-27-amd64 ]]
}

@test "Debian: the entry that was saved, in the menu below" {
  debian
  grubenv boot/grub/grubenv 'saved_entry=gnulinux-advanced-11111111-2222-4333-8444-555555555555>gnulinux-6.1.0-13-amd64-advanced-11111111-2222-4333-8444-555555555555'
  target
  is .kernel /vmlinuz-6.1.0-13-amd64
  grubenv boot/grub/grubenv 'saved_entry=1>2'
  target
  is .kernel /vmlinuz-6.1.0-13-amd64
  grubenv boot/grub/grubenv 'saved_entry=gone since'
  target
  is .kernel /vmlinuz-6.1.0-27-amd64
}

@test "Debian: one boot of another entry is left to GRUB, which crosses it out" {
  debian
  grubenv boot/grub/grubenv next_entry=1
  target
  [[ $reason == *next_entry* ]]
}

@test "Debian: a custom.cfg counts" {
  debian
  put boot/grub/custom.cfg $'menuentry mine {\nlinux /vmlinuz-6.1.0-13-amd64 root=/dev/sda9\n}\nset default=mine\n'
  target
  is .entry mine
  is .cmdline 'BOOT_IMAGE=/vmlinuz-6.1.0-13-amd64 root=/dev/sda9'
  is '.initrds | length' 0
}

@test "Ubuntu: conditions, functions with arguments, and an entry of the submenu by numbers" {
  filesystem root ext4 33333333-2222-4333-8444-555555555555 cloudimg-rootfs
  mkdir -p "$BATS_TEST_TMPDIR/root/boot/grub"
  cp "$GRUB/ubuntu.cfg" "$BATS_TEST_TMPDIR/root/boot/grub/grub.cfg"
  put root/boot/vmlinuz-5.15.0-60-kvm
  put root/boot/microcode.cpio 12345
  put root/boot/initrd.img-5.15.0-60-kvm initrd
  put root/boot/vmlinuz-5.15.0-100-generic
  put root/boot/initrd.img-5.15.0-100-generic
  target
  is .cmdline 'BOOT_IMAGE=/boot/vmlinuz-5.15.0-60-kvm root=PARTUUID=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee ro quiet vt.handoff=7 panic=-1'
  is '.initrds | length' 0
  # A boot without initrd has failed: that is in grubenv. The two are joined, each filled up to a multiple of four.
  grubenv root/boot/grub/grubenv initrdfail=1 prev_entry=
  target
  is '.initrds | join(" ")' '/boot/microcode.cpio /boot/initrd.img-5.15.0-60-kvm'
  [[ $(od -An -c "$BATS_TEST_TMPDIR/looked/initrd" | tr -d ' \n') == '12345\0\0\0initrd\0\0' ]]
}

fedora() { # /boot on a partition of its own
  filesystem boot xfs 22222222-2222-4333-8444-555555555555 ''
  mkdir -p "$BATS_TEST_TMPDIR/boot/grub2"
  cp "$GRUB/fedora.cfg" "$BATS_TEST_TMPDIR/boot/grub2/grub.cfg"
  local version
  for version in 5.14.0-70.el9 5.14.0-362.el9 0-rescue; do
    put "boot/vmlinuz-$version"
    put "boot/initramfs-$version.img"
    put "boot/loader/entries/4a5b-$version.conf" "title Linux $version
version $version
linux /vmlinuz-$version
initrd /initramfs-$version.img \$tuned_initrd
options \$kernelopts \$tuned_params
grub_users \$grub_users
"
  done
}

@test "Fedora: the newest entry of loader/entries, with the options that grubenv has" {
  fedora
  target
  is .kernel /vmlinuz-5.14.0-362.el9
  is '.initrds | join(" ")' /initramfs-5.14.0-362.el9.img
  is .cmdline 'BOOT_IMAGE=/vmlinuz-5.14.0-362.el9 root=UUID=33333333-2222-4333-8444-555555555555 ro'
  grubenv boot/grub2/grubenv 'kernelopts=root=/dev/mapper/a ro crashkernel=1G-4G:192M,4G-:256M' saved_entry=4a5b-5.14.0-70.el9
  target
  is .kernel /vmlinuz-5.14.0-70.el9
  is .cmdline 'BOOT_IMAGE=/vmlinuz-5.14.0-70.el9 root=/dev/mapper/a ro crashkernel=1G-4G:192M,4G-:256M'
}

@test "Fedora: entries of two machines are in the order of rpm, as GRUB has them" {
  fedora
  rm "$BATS_TEST_TMPDIR"/boot/loader/entries/*
  local id
  for id in 104a42359fae41b687caac066397aec2-5.14.0-162.el9.x86_64 cd3361a338fe47348de9937e51a7a4aa-5.14.0-284.el9.x86_64; do
    put "boot/vmlinuz-${id#*-}"
    put "boot/loader/entries/$id.conf" "title Linux
linux /vmlinuz-${id#*-}
"
  done
  target
  is .kernel /vmlinuz-5.14.0-162.el9.x86_64
}

@test "Fedora: where loaders differ in the order of the entries, none is chosen" {
  fedora
  local version
  for version in 7.1-1 7a-1; do
    put "boot/vmlinuz-$version"
    put "boot/loader/entries/4a5b-$version.conf" "title Linux
linux /vmlinuz-$version
"
  done
  target
  [[ $reason == *'depends on the loader'* ]]
}

@test "lines that end as DOS ends them are read as GRUB reads them" {
  debian
  sed -i 's/$/\r/' "$BATS_TEST_TMPDIR/boot/grub/grub.cfg"
  target
  is .kernel /vmlinuz-6.1.0-27-amd64
}

@test "a grub.cfg that only leads to another is not taken for one" {
  debian
  filesystem esp vfat AAAA-BBBB ''
  put esp/EFI/debian/grub.cfg $'search.fs_uuid 11111111-2222-4333-8444-555555555555 root\nset prefix=($root)\'/grub\'\nconfigfile $prefix/grub.cfg\n'
  FIRMWARE=efi target
  is .source /grub/grub.cfg
}

@test "of two grub.cfg, one for each kind of firmware, that of this machine counts" {
  debian
  filesystem esp vfat AAAA-BBBB ''
  put esp/EFI/redhat/grub.cfg $'search --no-floppy --fs-uuid --set=root 11111111-2222-4333-8444-555555555555\nmenuentry uefi {\nlinuxefi /vmlinuz-6.1.0-13-amd64 a\ninitrdefi /initrd.img-6.1.0-13-amd64\n}\n'
  FIRMWARE=efi target
  is .entry uefi
  FIRMWARE=pc target
  is .entry 'Debian GNU/Linux'
}

@test "two systems on one disk are not chosen from" {
  debian
  put root/boot/grub/grub.cfg 'menuentry other { linux /x }'
  target
  [[ $reason == 'there is more than one grub.cfg'* ]]
}

@test "what is not understood ends the looking, and is named" {
  filesystem root ext4 33333333-2222-4333-8444-555555555555 ''
  put root/vmlinuz
  local line
  for line in 'regexp --set=x a b' 'probe -u x' 'for x in 1 2; do echo; done' 'chainloader /x' 'devicetree /x' 'set x=$(y)' \
    'if [ a -nt b ]; then true; fi' "echo 'never closed" 'if true; then' 'linux (hd1,gpt2)/vmlinuz' 'configfile /x'; do
    put root/boot/grub/grub.cfg $'menuentry one {\nlinux /vmlinuz\n}\n'"$line"$'\n'
    target
    [[ -n $reason ]] || { printf 'taken: %s\n' "$line" && return 1; }
  done
  put root/boot/grub/grub.cfg $'menuentry one {\nlinux /vmlinuz\n}\n'
  target
  [[ -z $reason ]]
}

@test "nothing that the image says is run here" {
  local line harm=$BATS_TEST_TMPDIR/harm
  filesystem root ext4 33333333-2222-4333-8444-555555555555 ''
  put root/vmlinuz
  for line in "unset 'x[\$(touch $harm)]'" "unset '\$(touch $harm)'" "set 'x[\$(touch $harm)]=1'" "x'[\$(touch $harm)]'=1" \
    "[ 'x[\$(touch $harm)]' -eq 1 ]" "save_env '\$(touch $harm)'" "echo '\$(touch $harm)' \`touch $harm\`" "function 'f[\$(touch $harm)]' { true }" \
    "set default='x[\$(touch $harm)]'"; do
    put root/boot/grub/grub.cfg "menuentry one {"$'\n'"linux /vmlinuz '\$(touch $harm)'"$'\n}\n'"$line"$'\n'
    target || true
    [[ ! -e $harm ]] || { printf 'run: %s\n' "$line" && return 1; }
  done
  rm -r "$BATS_TEST_TMPDIR/root/boot"
  put root/loader/entries/one.conf "linux /vmlinuz
a[\$(touch $harm)] 1
version \$(touch $harm)
options \$(touch $harm)
"
  target
  is .cmdline "\$(touch $harm)"
  [[ ! -e $harm ]]
}

@test "a kernel on another disk, or that is not there, is no target" {
  filesystem root ext4 33333333-2222-4333-8444-555555555555 ''
  put root/vmlinuz
  put root/boot/grub/grub.cfg $'menuentry one {\nsearch --fs-uuid --set=root 99999999-2222-4333-8444-555555555555\nlinux /vmlinuz\n}\n'
  target
  [[ $reason == *99999999-2222-4333-8444-555555555555* ]]
  put root/boot/grub/grub.cfg $'menuentry one {\nlinux /vmlinuz\ninitrd /gone\n}\n'
  target
  [[ $reason == *'no /gone'* ]]
}

@test "an entry that loads no Linux is no target" {
  filesystem root ext4 33333333-2222-4333-8444-555555555555 ''
  put root/boot/grub/grub.cfg $'menuentry "setup" {\nfwsetup\n}\n'
  target
  [[ $reason == *setup*'loads no Linux'* ]]
}

@test "links are followed as the image would follow them, and lead to nothing of this machine" {
  filesystem root ext4 33333333-2222-4333-8444-555555555555 ''
  put root/boot/grub/grub.cfg $'menuentry one {\nlinux /vmlinuz\n}\n'
  put root/usr/lib/kernel/linux-1 inside
  ln -s usr/lib/kernel/current "$BATS_TEST_TMPDIR/root/vmlinuz"
  ln -s /usr/lib/kernel/linux-1 "$BATS_TEST_TMPDIR/root/usr/lib/kernel/current"
  target
  [[ $(<"$BATS_TEST_TMPDIR/looked/kernel") == inside ]]
  ln -sfn ../../../../../../../../../../../etc/passwd "$BATS_TEST_TMPDIR/root/vmlinuz"
  target
  [[ $reason == *'no /vmlinuz'* ]]
  ln -sfn vmlinuz "$BATS_TEST_TMPDIR/root/vmlinuz"
  target
  [[ $reason == *'no /vmlinuz'* ]]
}

entry() { # <name> <line>…: of systemd-boot
  put "esp/loader/entries/$1.conf" "$(printf '%s\n' "${@:2}")"
}

systemd_boot() {
  filesystem esp vfat AAAA-BBBB ''
  put esp/loader/loader.conf $'timeout 3\n'
  put esp/a/linux
  put esp/a/initrd
}

@test "systemd-boot: keys, several initrds and options, comments and blanks at the end" {
  systemd_boot
  put esp/a/microcode
  entry one '# a comment' $'title\tOne' 'version 6.1' 'linux /a/linux' 'initrd /a/microcode' 'initrd   /a/initrd  ' 'options root=LABEL=a' 'options quiet '
  target
  is .entry One
  is '.initrds | join(" ")' '/a/microcode /a/initrd'
  is .cmdline 'root=LABEL=a quiet'
}

@test "systemd-boot: the order of the specification" {
  systemd_boot
  entry z-6.9 'linux /a/linux' 'options by-name-6.9'
  entry z-6.10 'linux /a/linux' 'options by-name-6.10'
  target
  is .cmdline by-name-6.10
  entry b 'linux /a/linux' 'sort-key b' 'version 9' 'options sort-key-b'
  target
  is .cmdline sort-key-b
  entry a-1 'linux /a/linux' 'sort-key a' 'machine-id 1' 'version 6.9' 'options a-6.9'
  entry a-2 'linux /a/linux' 'sort-key a' 'machine-id 1' 'version 6.10' 'options a-6.10'
  entry a-3 'linux /a/linux' 'sort-key a' 'machine-id 2' 'version 7' 'options machine-2'
  target
  is .cmdline a-6.10
  mv "$BATS_TEST_TMPDIR/esp/loader/entries/a-2.conf" "$BATS_TEST_TMPDIR/esp/loader/entries/a-2+0-3.conf"
  target
  is .cmdline a-6.9
  entry a-0 'linux /a/linux' 'sort-key a' 'machine-id 1' 'version 8' 'architecture aa64' 'options of-an-arm'
  target
  is .cmdline a-6.9
}

@test "systemd-boot: an entry and its fallback are in the order of its menu" {
  systemd_boot
  entry arch 'linux /a/linux' 'options first'
  entry arch-fallback 'linux /a/linux' 'options fallback'
  target
  is .cmdline first
  put esp/loader/loader.conf 'default arch-f*'
  target
  is .cmdline fallback
}

@test "systemd-boot: a default that only old versions know is not guessed" {
  systemd_boot
  entry new-2 'linux /a/linux'
  entry old-1 'linux /a/linux'
  put esp/loader/loader.conf 'default new-2'
  target
  [[ $reason == *'old versions of systemd-boot'* ]]
}

@test "systemd-boot: loader.conf names the default, by a pattern too" {
  systemd_boot
  entry new-2 'linux /a/linux' 'options new'
  entry old-1 'linux /a/linux' 'options old'
  put esp/loader/loader.conf $'default old-*\n'
  target
  is .cmdline old
  put esp/loader/loader.conf $'default old-1.conf\n'
  target
  is .cmdline old
  put esp/loader/loader.conf $'default nothing\n'
  target
  is .cmdline old
}

@test "systemd-boot: device trees, EFI programs and unified images are left to the firmware" {
  systemd_boot
  entry one 'linux /a/linux' 'devicetree /a/board.dtb'
  target
  [[ $reason == *'device tree'* ]]
  entry one 'efi /a/shell.efi'
  target
  [[ $reason == *'EFI program'* ]]
  entry one 'linux /a/linux'
  put esp/EFI/Linux/debian.efi
  target
  [[ $reason == *debian.efi* ]]
}

@test "GRUB and systemd-boot side by side are not chosen from" {
  debian
  systemd_boot
  entry one 'linux /a/linux'
  target
  [[ $reason == *'two loaders'* ]]
}

@test "an image without a loader that is known is no target" {
  filesystem root ext4 33333333-2222-4333-8444-555555555555 ''
  target
  [[ $reason == *'neither a grub.cfg nor'* ]]
}
