# shellcheck shell=bash
# ur-writer: the program that unpacks, hashes and writes a stream in one process. image::write uses it where the node has it,
# and else the pipeline of the node's own programs. Needs writer.sh, pipeline.sh and image-table.sh.

find_program() { # sets program to the path of ur-writer, or to nothing: it is looked for in PATH and beside ur-agent
  local agent
  program=$(command -v ur-writer || true)
  [[ -z $program ]] || return 0
  # The process that started this task is ur-agent's supervisor.
  agent=$(readlink "/proc/$PPID/exe" || true)
  [[ ${agent##*/} != ur-agent* || ! -x ${agent%/*}/ur-writer ]] || program=${agent%/*}/ur-writer
}

write_by_program() { # the stage that takes the place of to_file_hash, decompress, to_raw_hash and write_raw or write_qcow2
  local arguments=(--disk "/dev/$disk" --compression "$compression") writer status=0 refused='' last='' word rest
  [[ -z $checksum ]] || arguments+=(--hash-input "$(algorithm_of "$checksum")")
  [[ -z $raw_algorithm ]] || arguments+=(--hash-output "$raw_algorithm")
  rm -f "$scratch"/{go,said}
  mkfifo "$scratch/go" "$scratch/said"
  if [[ $format == raw ]]; then
    arguments+=(--head-file "$scratch/head" --head-bytes "$head_bytes" --go "$scratch/go")
  else
    wipe_before_write
    arguments+=(--offset "$qcow2_at")
  fi
  "$program" "${arguments[@]}" <&0 >"$scratch/writer.json" 2>"$scratch/said" {ur_result}>&- &
  writer=$!
  while read -r word rest; do
    case $word in
      head)
        # In a subshell: if it refuses the disk, the program has to be told before this stage ends.
        (prepare_disk) || refused=$?
        # In the background, because the program may have ended instead of reading it.
        printf '%s\n' "$(if [[ -n $refused ]]; then printf stop; else printf go; fi)" >"$scratch/go" &
        ;;
      progress) report_program "${rest% *}" ;;
      *)
        last="$word $rest"
        log "$last"
        ;;
    esac
  done <"$scratch/said"
  wait "$writer" || status=$?
  [[ -z $refused ]] || exit "$refused"
  if ((status != 0)); then
    printf '%s\n' "$last" >"$scratch/written"
    return "$status"
  fi
  keep_report
}

prepare_disk() { # what has to be right before the first byte goes to the disk
  local reason
  reason=$(check_sector_size "$scratch/head") || fail image/refused "$reason. $(state_of_disk)" "$(image_result refused)"
  wipe_before_write
}

report_program() { # <bytes done>
  local all=${raw_bytes:-0}
  [[ $format == raw ]] || all=$content_length
  ((SECONDS <= ${begun:-SECONDS})) || report_speed "$1" "$all" $((SECONDS - begun))
}

keep_report() { # puts what the program has reported where the pipeline's own programs leave it
  local report
  mapfile -t report < <(jq -r '.bytes, (.input_hash, .output_hash | . // "" | sub(".*:"; ""))' "$scratch/writer.json")
  printf '%s' "${report[1]}" >"$scratch/file.hash"
  printf '%s' "${report[2]}" >"$scratch/raw.hash"
  [[ $format != raw ]] || printf '%d bytes written\n' $((report[0] - $(size_of "$scratch/head"))) >"$scratch/written"
}
