# shellcheck shell=bash
# A real HTTP server on loopback for a test, of the files in $WWW.

start_server() { # sets URL, and WWW to its directory
  WWW=$BATS_TEST_TMPDIR/www
  mkdir "$WWW"
  python3 "${BASH_SOURCE[0]%/*}/http-server.py" "$WWW" 3>&- >"$BATS_TEST_TMPDIR/server.log" 2>&1 &
  SERVER=$!
  until [[ -e $WWW/port ]]; do kill -0 "$SERVER"; done
  # shellcheck disable=SC2034 # the tests use it
  URL=http://127.0.0.1:$(<"$WWW/port")
}

stop_server() { # call it from teardown
  [[ -z ${SERVER:-} ]] || kill "$SERVER"
}
