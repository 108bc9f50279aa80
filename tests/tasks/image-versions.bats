#!/usr/bin/env bats
# The order of versions by which image::run finds the newest entry, beside the programs that it is taken from.

setup() {
  SCRIPTS=$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)
}

newer() { # <systemd|rpm> <version> <version>: prints >, < or =
  bash -euc 'source "$1"
    if "$2_is_newer" "$3" "$4"; then printf ">"; elif "$2_is_newer" "$4" "$3"; then printf "<"; else printf =; fi' - \
    "$SCRIPTS/image/files/run/versions.sh" "$@"
}

versions=(122.1 123~rc1-1 123 123-a 123-a.1 123-1 123-1.1 123^post1 123.a-1 123.1-1 123a-1 124-1 arch.conf arch-fallback.conf
  1.0010 1.9 1_a 1a 6.5.0-1.fc39.x86_64 6.5.0-1.fc39.x86_64+debug 0-rescue a~ a 4.18.0-80.el8 4.18.0-80.1.2.el8_0)

@test "versions are in the order of systemd's own program" {
  local one other
  command -v systemd-analyze >/dev/null || skip 'there is no systemd-analyze'
  for one in "${versions[@]}"; do
    for other in "${versions[@]}"; do
      diff <(systemd-analyze compare-versions "$one" "$other" | sed "s/==/=/") <(printf '%s %s %s\n' "$one" "$(newer systemd "$one" "$other")" "$other")
    done
  done
}

@test "versions are in the order of rpm's own program" {
  local one other number
  command -v rpm >/dev/null || skip 'there is no rpm'
  for one in "${versions[@]}"; do
    for other in "${versions[@]}"; do
      # GRUB's copy is older than the caret.
      [[ $one$other != *'^'* ]] || continue
      number=$(rpm --eval "%{lua:print(rpm.vercmp('$one', '$other'))}")
      diff <(case $number in -1) printf '<' ;; 0) printf '=' ;; 1) printf '>' ;; esac) <(newer rpm "$one" "$other")
    done
  done
}
