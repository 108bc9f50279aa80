#!/usr/bin/env bats
# The Debian packages, in a Debian 12 of their own: installed, upgraded, removed and purged. Its systemctl is a fake.

bats_require_minimum_version 1.5.0

setup_file() {
  local built
  ((EUID == 0)) || skip 'only root can make a root'
  CHECKOUT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  for built in "${UR_BIN_DIR:-}" "$CHECKOUT"/target/*/release; do [[ ! -x $built/ur-agent || ! -x $built/ur || ! -x $built/ur-writer ]] || break; done
  [[ -x $built/ur-writer ]] || skip 'the programs have not been built: make build'
  BUILT=$built ROOT=$BATS_FILE_TMPDIR/root
  export CHECKOUT BUILT ROOT
  "$CHECKOUT/packaging/deb" "$BUILT" "$BATS_FILE_TMPDIR/first" >/dev/null
  # The next version, from a checkout that says so.
  mkdir "$BATS_FILE_TMPDIR/next"
  cp -r "$CHECKOUT"/{Makefile,README.md,docs,packaging} "$BATS_FILE_TMPDIR/next"
  sed -i '1s/(.*)/(99.0)/' "$BATS_FILE_TMPDIR/next/packaging/debian/changelog"
  "$BATS_FILE_TMPDIR/next/packaging/deb" "$BUILT" "$BATS_FILE_TMPDIR/second" >/dev/null
  mmdebstrap --quiet --variant=minbase bookworm "$ROOT"
  fake_systemctl
}

fake_systemctl() { # a systemctl that notes what it is asked; the agent is active if the file says so
  mkdir -p "$ROOT/run/systemd/system" "$ROOT/fake"
  cat >"$ROOT/usr/bin/systemctl" <<'END'
#!/bin/sh
echo "$*" >>/fake/log
case "$*" in
  *is-active*) [ -e /fake/active ] ;;
esac
END
  chmod +x "$ROOT/usr/bin/systemctl"
}

setup() {
  : >"$ROOT/fake/log"
}

in_root() { chroot "$ROOT" "$@"; }

install_packages() { # <folder>
  cp "$BATS_FILE_TMPDIR/$1"/*.deb "$ROOT/tmp"
  in_root sh -c 'dpkg --install /tmp/*.deb && rm /tmp/*.deb'
}

is_asked() { grep -Eq "$1" "$ROOT/fake/log"; }

@test "the version of the packages is that of the programs" {
  local version
  version=$(sed -nE '1s/.*\((.*)\).*/\1/p' "$CHECKOUT/packaging/debian/changelog")
  [[ $("$BUILT/ur" --version) == "ur $version" ]]
  [[ $("$BUILT/ur-agent" --version) == "ur-agent $version" ]]
}

@test "lintian finds no error in the packages" {
  run -0 lintian --allow-root --fail-on error "$BATS_FILE_TMPDIR"/first/*.deb
}

@test "the packages bring programs, pages and completions, and start nothing" {
  install_packages first
  in_root ur --version
  in_root ur-agent --version
  in_root ur-writer --version
  in_root sh -c '
    set -e
    test -f /usr/share/man/man1/ur.1.gz -a -f /usr/share/man/man1/ur-exec.1.gz -a -f /usr/share/man/man1/ur-agent.1.gz
    test -f /usr/share/bash-completion/completions/ur -a -f /usr/share/zsh/vendor-completions/_ur
    test "$(stat -c %a /etc/ur/agent.env)" = 600
    grep -q ^ExecStart=/usr/bin/ur-agent /lib/systemd/system/ur-agent.service'
  run ! is_asked '(^| )(start|restart|enable)( |$)'
}

@test "an upgrade keeps the settings, and restarts an agent that runs" {
  echo UR_AMQP_URL=amqp://mine >>"$ROOT/etc/ur/agent.env"
  touch "$ROOT/fake/active"
  install_packages second
  in_root dpkg-query --show ur-agent | grep -q 99.0
  grep -q amqp://mine "$ROOT/etc/ur/agent.env"
  is_asked '(^| )restart ur-agent.service$'
}

@test "an upgrade starts no agent that does not run" {
  rm "$ROOT/fake/active"
  install_packages first
  run ! is_asked '(^| )(start|restart)( |$)'
}

@test "removing stops the agent and leaves the settings; purging leaves nothing" {
  touch "$ROOT/fake/active"
  in_root dpkg --remove ur ur-agent
  is_asked '(^| )stop ur-agent.service$'
  grep -q amqp://mine "$ROOT/etc/ur/agent.env"
  [[ ! -e $ROOT/usr/bin/ur-agent ]]
  in_root dpkg --purge ur ur-agent
  [[ ! -e $ROOT/etc/ur ]]
  [[ -z $(in_root find /usr /lib/ /etc -name '*ur-agent*') ]]
}
