# shellcheck shell=bash
# The plan of image::cache: which of the images that are asked for are kept, and what became of each. Needs the library's
# ur.sh, mirrors.sh, checksum.sh and cache/directory.sh; $folder.

# Of each image of the parameters, by its number: what is asked for …
image_id=() image_checksum=() image_checksum_url=() image_size=() image_urls=()
# … and what became of it. The names of files are those of the images that are kept.
image_verdict=() image_reason=() image_name=()
wanted=()           # names of the images to keep, by priority
declare -A sizes=() # of these, by name

read_images() { # sets what is asked for, from the parameter images
  local lines at=0 count all
  all=$(jq -r '.[] | (.id | tojson), .checksum // "", .checksum_url // "", .size // "", (.urls | length), .urls[]' <<<"$PT_images")
  [[ -z $all ]] || mapfile -t lines <<<"$all"
  while ((at < ${#lines[@]})); do
    image_id+=("${lines[at]}") image_checksum+=("${lines[at + 1]}") image_checksum_url+=("${lines[at + 2]}") image_size+=("${lines[at + 3]}")
    count=${lines[at + 4]}
    image_urls+=("$(printf '%s\n' "${lines[@]:at+5:count}")")
    at=$((at + 5 + count))
  done
}

plan_cache() { # decides by priority which images are kept: as many as fit
  local number name left other
  declare -A number_of=()
  left=$(budget)
  for number in "${!image_id[@]}"; do
    if ! name=$(name_of_image "$number"); then
      record_verdict "$number" failed "$(jq -r ._error.msg "$scratch/reason")"
    elif other=${number_of[$name]:-} && [[ -n $other ]]; then
      image_urls[other]+=$'\n'${image_urls[number]}
      record_verdict "$number" same 'it is the same as an image before it'
    elif ! sizes[$name]=$(bytes_of_image "$number" "$name"); then
      record_verdict "$number" failed 'no mirror says how big it is: give size'
    elif ((sizes[$name] > left)); then
      record_verdict "$number" skipped "it has ${sizes[$name]} bytes, and there is room for $left"
    else
      left=$((left - sizes[$name]))
      wanted+=("$name")
      number_of[$name]=$number
      image_name[number]=$name
      if [[ -f $folder/$name ]]; then record_verdict "$number" kept; else record_verdict "$number" would-fetch; fi
    fi
  done
}

name_of_image() { # <number>: prints the name of its file; else leaves a result with the error in $scratch/reason
  local digits
  {
    digits=$(read_checksum "${image_checksum[$1]}" "${image_checksum_url[$1]}" "$(file_names_of "${image_urls[$1]}")") || return 1
    [[ -n $digits ]] || fail image/refused 'it has neither checksum nor checksum_url'
    printf '%s-%s' "$(algorithm_of "$digits")" "$digits"
  } {ur_result}>"$scratch/reason"
}

bytes_of_image() { # <number> <name>
  if [[ -n ${image_size[$1]} ]]; then
    printf '%d' "${image_size[$1]}"
  elif [[ -f $folder/$2 ]]; then
    size_of "$folder/$2"
  else
    content_length=
    try_mirrors "${image_urls[$1]}" request_length && printf '%d' "$content_length"
  fi
}

request_length() { # <url>
  request "$1" --range 0-1023 | head -c 1024 >/dev/null
  read_response "$1"
  record_request "$1" 0
  [[ -n $content_length ]]
}

record_verdict() { # <number of the image> <verdict> [<reason>]
  image_verdict[$1]=$2
  image_reason[$1]=${3:-}
}

verdict_list() { # prints what became of the images as a JSON array
  local number all=''
  for number in "${!image_id[@]}"; do
    all+=",{\"id\":${image_id[number]},\"verdict\":\"${image_verdict[number]}\""
    [[ -z ${image_reason[number]} ]] || all+=",\"reason\":$(json_string "${image_reason[number]}")"
    [[ ${image_verdict[number]} == failed || -z ${image_name[number]:-} ]] || all+=",\"file\":$(json_string "$folder/${image_name[number]}")"
    all+='}'
  done
  printf '[%s]' "${all#,}"
}

failures() { # prints which images failed, and why, for a message
  local number all=''
  for number in "${!image_id[@]}"; do
    [[ ${image_verdict[number]} != failed ]] || all+="; ${image_id[number]:1:-1}: ${image_reason[number]}"
  done
  printf '%s' "${all#; }"
}
