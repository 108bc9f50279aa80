# shellcheck shell=bash
# Which of the images that are asked for a node shall keep. Needs the library's ur.sh, mirrors.sh, checksum.sh and shelf.sh.

wanted=()             # names of the images to keep, by priority
declare -A sources=() # the URLs of a wanted image, by name
declare -A sizes=()
declare -A verdicts=() # what became of each image of the parameters, by its number: JSON

plan() { # decides by priority which images are kept: as many as fit
  local image number=0 name urls left
  left=$(budget)
  while read -r image; do
    urls=$(jq -r '.urls[]' <<<"$image")
    if ! name=$(name_of_image "$image" "$urls"); then
      decide "$number" failed "$(jq -r ._error.msg "$scratch/reason")"
    elif [[ -n ${sources[$name]:-} ]]; then
      sources[$name]+=$'\n'$urls
      decide "$number" same "it is the same as an image before it"
    elif ! sizes[$name]=$(bytes_of_image "$image" "$name" "$urls"); then
      decide "$number" failed 'no mirror says how big it is: give size'
    elif ((sizes[$name] > left)); then
      decide "$number" skipped "it has ${sizes[$name]} bytes, and there is room for $left"
    else
      left=$((left - sizes[$name]))
      wanted+=("$name")
      sources[$name]=$urls
      decide "$number" "$([[ -f $folder/$name ]] && printf kept || printf would-fetch)" '' "$name"
    fi
    number=$((number + 1))
  done < <(jq -c '.[]' <<<"$PT_images")
}

name_of_image() { # <image, JSON> <URLs, one a line>: prints the name of its file; else leaves an answer in $scratch/reason
  local digits
  {
    digits=$(read_checksum "$(jq -r '.checksum // ""' <<<"$1")" "$(jq -r '.checksum_url // ""' <<<"$1")" "$(names_of "$2")") || return 1
    [[ -n $digits ]] || fail image/refused 'it has neither checksum nor checksum_url'
    printf '%s-%s' "$(algorithm_of "$digits")" "$digits"
  } {ur_result}>"$scratch/reason"
}

bytes_of_image() { # <image, JSON> <name> <URLs, one a line>
  local bytes
  bytes=$(jq -r '.size // ""' <<<"$1")
  if [[ -n $bytes ]]; then
    printf '%d' "$bytes"
  elif [[ -f $folder/$2 ]]; then
    size_of "$folder/$2"
  else
    length=
    try_mirrors "$3" learn_length && printf '%d' "$length"
  fi
}

learn_length() { # <url>
  ask "$1" --range 0-1023 | head -c 1024 >/dev/null
  hear "$1"
  note "$1" 0
  [[ -n $length ]]
}

decide() { # <number of the image> <verdict> <reason, or nothing> [<name>]
  verdicts[$1]=$(jq -c --argjson number "$1" --arg verdict "$2" --arg reason "$3" --arg name "${4:-}" --arg folder "$folder" \
    '.[$number] | {id, $verdict} + ({$reason, file: (if $name == "" then "" else "\($folder)/\($name)" end)} | with_entries(select(.value != "")))' <<<"$PT_images")
}
