# shellcheck shell=bash
# The result of power::off and power::reboot. Needs the library's ur.sh, and down.sh.

report() { # <action>
  result "{\"action\":\"$1\",\"noop\":$(noop && printf true || printf false),\"reason\":$(json_string "${PT_reason:-}"),\"unflushed\":$(json_string "${unflushed% }"),\"cut_short\":$(json_string "$running")}"
}
