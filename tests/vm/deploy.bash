# The pieces of the story from a blank disk to a running system, for its scenarios and its demonstration.
# Needs vm.bash.

serve_image() { # makes the image, and serves it to the machines: sets IMAGE_URL and CHECKSUM
  local www=$MACHINES/www
  tests/vm/os-image "$(type -P ur-agent)" target/vm
  mkdir "$www"
  ln "$PWD/target/vm/os.raw.zst" "$www" 2>/dev/null || cp target/vm/os.raw.zst "$www"
  python3 tests/tasks/http-server.py "$www" </dev/null &>"$MACHINES/server" 3>&- &
  printf '%s\n' "$!" >"$MACHINES/server.pid"
  until [[ -e $www/port ]]; do kill -0 "$!"; done
  IMAGE_URL=http://10.0.2.2:$(<"$www/port")/os.raw.zst
  CHECKSUM=$(sha256sum <"$www/os.raw.zst")
  export IMAGE_URL CHECKSUM=${CHECKSUM%% *}
}

stop_serving() {
  [[ ! -e $MACHINES/server.pid ]] || kill "$(<"$MACHINES/server.pid")"
}

blank_machine() { # <number> [<QEMU argument>…]: a disk of zeros, and Ur's ramdisk as virtual media, which boots while the disk does not
  [[ -e $MACHINES/ur.iso ]] || boot/iso "$RAMDISK" "$MACHINES/ur.iso" no_timer_check \
    "ur.amqp=${UR_AMQP_URL/127.0.0.1/10.0.2.2}"
  attach "os$1" 1G virtio-blk-pci,serial=OS
  MEMORY=1G power_on "$1" -cdrom "$MACHINES/ur.iso" "${@:2}"
}

task() { # <number> <task> [<argument>…]: sets result to what it answers; its exit status
  local number=$1 run=$MACHINES/run status=0
  shift
  ur run -n "$(uuid_of "$number")" -J "$@" >"$run" || status=$?
  result=$(jq -r '.result.stdout' "$run")
  printf '%s\n' "$result"
  ((status == 0)) || jq -r '.result.stderr' "$run" | tail -n 20
  return "$status"
}

answer() { # <jq filter> <expected>: compares a part of the result
  diff <(printf '%s\n' "$2") <(jq -r "$1" <<<"$result")
}

write() { # <number>
  task "$1" --yes image::write "urls=[\"$IMAGE_URL\"]" checksum="$CHECKSUM" disk='{"serial":"OS"}' 'confirm_serials=["OS"]'
}

give_broker() { # <number>: the new system's agent finds it on the config drive
  printf '{"user_data": "UR_AMQP_URL=%s\\n"}' "${UR_AMQP_URL/127.0.0.1/10.0.2.2}" >"$MACHINES/secret"
  task "$1" --yes image::configdrive disk='{"serial":"OS"}' 'confirm_serials=["OS"]' --params "@$MACHINES/secret"
}

has_new_system() { # <number> <boot id before>: its agent has announced itself, by the UUID that the machine has had
  node "$1" "select(.Hostname == \"deployed\" and .\"Boot ID\" != \"$2\" and .\"Boot ID\" != null)"
}

boot_id() { # <number>
  node "$1" '."Boot ID"'
}
