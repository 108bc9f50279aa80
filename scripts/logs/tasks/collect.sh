#!/usr/bin/env bash
# The logs of a node in one bounded archive, as a reply or put to a URL: in a ramdisk they are gone with the next boot.
set -euo pipefail

# shellcheck source=scripts/ur/files/ur.sh
source "$PT__installdir/ur/files/ur.sh"
# shellcheck source=scripts/ur/files/job.sh
source "$PT__installdir/ur/files/job.sh"
# shellcheck source=scripts/ur/files/disks.sh
source "$PT__installdir/ur/files/disks.sh"
# shellcheck source=scripts/logs/files/items.sh
source "$PT__installdir/logs/files/items.sh"

readonly all_items=(kernel journal system storage network drives bmc jobs)
# What a reply takes: the archive grows by a third as text.
readonly max_in_reply=3500000

main() {
  # No trace: a url that may be written to is a secret.
  need jq tar zstd sha256sum:coreutils base64:coreutils
  max_bytes=${PT_max_bytes:-3000000}
  guards
  make_scratch
  logs=$scratch/logs
  mkdir "$logs"
  collect
  pack
  deliver
}

guards() {
  local wanted=${PT_items:-[]}
  if [[ -n ${PT_url:-} ]]; then
    need curl
  elif ((max_bytes > max_in_reply)); then
    fail logs/too-big "a reply has room for $max_in_reply bytes: give a url to put more, or a smaller max_bytes"
  fi
  mapfile -t items < <(if [[ $wanted == '[]' ]]; then printf '%s\n' "${all_items[@]}"; else items "$wanted"; fi)
  for item in "${items[@]}"; do
    declare -F "item_$item" >/dev/null || fail logs/item "there is no item $item: there are ${all_items[*]}"
  done
}

collect() {
  local done=0
  touch "$scratch/kept"
  for item in "${items[@]}"; do
    progress $((done++ * 90 / ${#items[@]})) "$item"
    "item_$item"
  done
}

pack() { # makes $scratch/archive of at most max_bytes: the biggest files lose their beginning
  local most=$max_file_bytes file line quoted
  archive=$scratch/logs.tar.zst
  while
    json_array "$(<"$scratch/kept")" >"$logs/contents.json"
    tar --create --directory="$scratch" logs | zstd --quiet --force -9 -o "$archive"
    (($(stat --format=%s "$archive") > max_bytes))
  do
    ((most > 1024)) || fail logs/too-big "even the last KiB of each file makes more than $max_bytes bytes: ask for fewer items"
    most=$((most / 2))
    while read -r -d '' file; do
      tail --bytes="$most" "$file" >"$scratch/shorter"
      mv "$scratch/shorter" "$file"
      to_json quoted "${file#"$logs/"}"
      while IFS= read -r line; do
        [[ $line != *"\"file\":$quoted,"* || ! $line =~ (.*\"verdict\":)\"[a-z]+\",\"bytes\":[0-9]+(.*) ]] \
          || line="${BASH_REMATCH[1]}\"shortened\",\"bytes\":$most${BASH_REMATCH[2]}"
        printf '%s\n' "$line"
      done <"$scratch/kept" >"$scratch/kept.new"
      mv "$scratch/kept.new" "$scratch/kept"
    done < <(find "$logs" -type f -size "+${most}c" ! -name contents.json -print0)
  done
}

deliver() {
  local status=0 where
  if [[ -n ${PT_url:-} ]]; then
    progress 90 'sending the archive'
    # The server's word is all there is: what was put cannot be read back everywhere. Arguments can be seen by all.
    status=$(curl --silent --show-error --globoff --location --retry 3 --retry-connrefused --connect-timeout 20 --max-time 1800 \
      --upload-file "$archive" --output /dev/null --write-out '%{http_code}' \
      --config <(printf 'url = %s\n' "$(json_string "$PT_url")")) \
      || fail logs/not-sent "curl could not put the archive to the url, exit status $?: its message is in the log"
    [[ $status == 2?? ]] || fail logs/not-sent "the server answered $status to the archive: look at its log"
    where="{\"http_status\":$status}"
  else
    where="{\"archive\":\"$(base64 --wrap=0 "$archive")\"}"
  fi
  result "${where%\}},\"format\":\"tar.zst\",\"bytes\":$(stat --format=%s "$archive"),\"sha256\":\"$(sha256sum <"$archive" | cut -d ' ' -f 1)\",\"files\":$(json_array "$(<"$scratch/kept")")}"
}

main "$@"
