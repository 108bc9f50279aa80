# shellcheck shell=bash
# ur-writer: the program that unpacks, hashes and writes a stream in one process. image::write uses it where the node has it,
# and else the pipeline of the node's own programs. Needs shell-writer.sh, pipeline.sh and image-table.sh.

find_ur_writer() { # sets ur_writer to the path of ur-writer, or to nothing: it is looked for in PATH and beside ur-agent; and one_pass
  local agent
  ur_writer=$(command -v ur-writer || true)
  if [[ -z $ur_writer ]]; then
    # The process that started this task is ur-agent's supervisor.
    agent=$(readlink "/proc/$PPID/exe" || true)
    [[ ${agent##*/} != ur-agent* || ! -x ${agent%/*}/ur-writer ]] || ur_writer=${agent%/*}/ur-writer
  fi
  # What is on the disk can be compared only with a qcow2 that is still there.
  [[ -z $ur_writer || $format == raw || -n $cached || ${PT_read_back:-false} == true ]] || one_pass=true
}

write_by_ur_writer() { # the stage that takes the place of to_file_hash, unpack_stream, to_raw_hash and write_raw or write_qcow2
  local arguments=(--disk "$scratch/disk" --compression "$compression") writer status=0 refused='' last='' word rest
  [[ -z $checksum ]] || arguments+=(--hash-input "$(algorithm_of "$checksum")")
  [[ -z $raw_algorithm ]] || arguments+=(--hash-output "$raw_algorithm")
  rm -f "$scratch"/{go,said,disk}
  mkfifo "$scratch/go" "$scratch/said"
  # An empty file, until the disk is ready for it.
  : >"$scratch/disk"
  if [[ $format == raw || -n $one_pass ]]; then
    arguments+=(--format "$format" --head-file "$scratch/head" --head-bytes "$head_bytes" --go "$scratch/go")
  else
    open_disk
    arguments+=(--offset "$qcow2_at")
  fi
  "$ur_writer" "${arguments[@]}" <&0 >"$scratch/writer.json" 2>"$scratch/said" {ur_result}>&- &
  writer=$!
  while read -r word rest; do
    case $word in
      head | size)
        # The head of a qcow2 is complete only at the end.
        [[ $word.$format != head.qcow2 ]] || continue
        # In a subshell: if it refuses the disk, the program has to be told before this stage ends.
        (prepare_disk "$rest") || refused=$?
        # In the background, because the program may have ended instead of reading it.
        printf '%s\n' "$(if [[ -n $refused ]]; then printf stop; else printf go; fi)" >"$scratch/go" &
        ;;
      progress) report_program "${rest% *}" ;;
      *)
        last="$word ${rest//"$scratch/disk"//dev/$disk}"
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

prepare_disk() { # <bytes of a raw image's head, or of a qcow2's image>: what has to be right before the first byte goes to the disk
  if [[ $format == raw ]]; then
    guard_head
    # What is smaller is known whole: the disk is not touched before its hash is right.
    (($1 == head_bytes)) || return 0
  else
    [[ $1 == "$raw_bytes" ]] || return "$told_to_stop"
  fi
  open_disk
}

open_disk() { # lets the program have the disk
  wipe_before_write
  ln -sf "/dev/$disk" "$scratch/disk"
}

report_program() { # <bytes done>
  local all=${raw_bytes:-0}
  [[ $format == raw || -n $one_pass ]] || all=$content_length
  ((SECONDS <= ${begun:-SECONDS})) || report_speed "$1" "$all" $((SECONDS - begun))
}

keep_report() { # puts what the program has reported where the pipeline's own programs leave it
  local report
  mapfile -t report < <(jq -r '.bytes, (.input_hash, .output_hash | . // "" | sub(".*:"; ""))' "$scratch/writer.json")
  printf '%s' "${report[1]}" >"$scratch/file.hash"
  printf '%s' "${report[2]}" >"$scratch/raw.hash"
  [[ $format != raw ]] || printf '%d bytes written\n' $((report[0] - $(size_of "$scratch/head"))) >"$scratch/written"
}
