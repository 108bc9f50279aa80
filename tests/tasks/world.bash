# shellcheck shell=bash
# A world in which a task that takes the machine down does no harm: a PID namespace, of which alone reboot(2) is the end, without
# the capability to call it, with a /run in which no init listens, and with a made-up /proc in which sysrq-trigger is a
# file. poweroff and reboot are shims that write down that they were called. Needs LOG.

# shellcheck disable=SC2016 # programs for other shells

make_world() { # sets INIT to the pid of the first process of such a namespace, JOB and WORK to the two folders of the job that runs there
  local parent
  WORLD=$BATS_TEST_TMPDIR/world
  JOB=$WORLD/jobs/this
  WORK=$WORLD/work/this/work
  mkdir -p "$JOB" "$WORK" "$WORLD/bin"
  touch "$JOB/pid"
  shim poweroff 0
  shim reboot 0
  unshare --mount --pid --fork --propagation private --kill-child bash -c '
    set -eu
    mount -t tmpfs none /run
    mount -t tmpfs none /proc
    mkdir /proc/real
    mount -t proc none /proc/real
    # Symbolic links to the real things, but for the trigger; to those of processes that are yet to come, too.
    cd /proc/real
    things=([a-z]*)
    ln -s -t /proc "${things[@]/#/real/}" real/{1..5000}
    rm -f /proc/sysrq-trigger
    touch "$1/sysrq" "$1/console" /proc/sysrq-trigger
    mount --bind "$1/sysrq" /proc/sysrq-trigger
    [[ ! -e /dev/kmsg ]] || mount --bind "$1/console" /dev/kmsg
    touch "$1/ready"
    exec sleep infinity' - "$WORLD" 3>&- >"$LOG" 2>&1 &
  parent=$!
  disown
  until [[ -e $WORLD/ready ]]; do kill -0 "$parent"; done
  INIT=$(pgrep --parent "$parent")
}

shim() { # <program> <exit status>
  printf '#!/bin/sh\necho "${0##*/} $*" >>%s\nexit %d\n' "$WORLD/called" "$2" >"$WORLD/bin/$1"
  chmod +x "$WORLD/bin/$1"
}

end_world() { # call it from teardown
  # All that was left behind in the PID namespace ends with its first process.
  [[ -z ${INIT-} ]] || kill -KILL "$INIT"
}

in_world() { # [<variable>=<value>…] <program> [<argument>…]: runs it there
  nsenter --target "$INIT" --mount --pid -- setpriv --bounding-set=-sys_boot,-syslog --inh-caps=-sys_boot,-syslog \
    env PATH="$WORLD/bin:$PATH" "$@"
}

called() { # <text>: succeeds when a shim has been called so
  eventually grep -qx "$1" "$WORLD/called"
}

left_behind() { # prints how many processes the tasks have left
  # Not those that have ended: the first process of this namespace takes no notice of them.
  pgrep --ns "$INIT" --nslist pid --runstates D,R,S --count bash || true
}
