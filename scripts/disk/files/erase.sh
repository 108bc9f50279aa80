# shellcheck shell=bash
# Erasing units side by side, with a verdict for each disk: what was done and what proves it. A unit is what a drive erases at
# once: the namespaces of an NVMe controller together, any other disk by itself.

declare -A units=() # of each unit, by name: its disks
declare -A plan=()  # of each unit: the methods to try, the best first

unit_of() { # <disk>
  local controller=$1
  [[ ${disk_fact["$1 class"]} != nvme ]] || controller=$(nvme_controller "$1")
  printf '%s' "${controller#/dev/}"
}

plan_erase() { # <level> <methods, JSON: lists by class>: sets units and plan, and refuses what cannot reach the level
  local name class wanted offered method chosen
  local -A methods=()
  if [[ $2 != '{}' ]]; then
    while IFS=$'\t' read -r class method; do methods[$class]+="$method "; done \
      < <(jq -r 'to_entries[] | .key as $class | .value[] | "\($class)\t\(.)"' <<<"$2")
  fi
  for name in "${targets[@]}"; do
    class=${disk_fact["$name class"]}
    wanted=${methods[$class]:-}
    [[ -n $wanted ]] || wanted=$(default_methods "$1" "$class" "${disk_fact["$name rotational"]}")
    # shellcheck disable=SC2086 # a list of words
    need_for_methods $wanted
    offered=$(offered_methods "$name" "$wanted") || refuse "$name" 'it does not say what it can do: the log tells more'
    chosen=''
    for method in $wanted; do
      if [[ -z ${method_level[$method]:-} ]]; then
        refuse "$name" "there is no method $method: there are ${!method_level[*]}"
      elif [[ $1 != express ]] && ((level_rank[${method_level[$method]}] < level_rank[$1])); then
        refuse "$name" "$method does not reach the level $1"
      elif grep -qxF -- "$method" <<<"$offered"; then
        chosen+="$method "
      fi
    done
    [[ -n $chosen ]] || refuse "$name" "no method of level $1 is to be had: a drive of class $class that offers $(tr '\n' ' ' <<<"$offered")"
    plan[$(unit_of "$name")]=$chosen
    units[$(unit_of "$name")]+="$name "
  done
}

guard_whole_units() { # what a controller erases, it erases in all its namespaces
  local name other
  for name in "${targets[@]}"; do
    [[ ${plan[$(unit_of "$name")]:-} == *nvme-* ]] || continue
    for other in $(nvme_namespaces "$name"); do
      [[ " ${targets[*]} " == *" $other "* ]] \
        || refuse "$name" "its controller may erase /dev/$other too, which is not chosen"
    done
  done
}

erase_units() { # <how many at a time>: writes the verdicts to $scratch/<unit>.verdicts
  local unit
  # No eraser may outlive the answer. And a task that is told to end says how far it came.
  trap 'erase_status=$?; end_children $$; ur_end "$erase_status"' EXIT
  trap interrupted TERM INT
  for unit in "${!units[@]}"; do
    while (($(jobs -rp | wc -l) >= $1)); do report_erase; done
    erase_unit "$unit" "$scratch/$unit.log" &
  done
  while [[ -n $(jobs -rp) ]]; do report_erase; done
}

interrupted() {
  trap '' TERM INT
  log 'interrupted: ending what runs'
  end_children $$
  verification 'interrupted, may be half erased'
  exit
}

end_children() { # <pid>: kills all that it has started, and what those have; each is stopped first, lest it start more
  local child
  for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null || true); do
    kill -STOP "$child" 2>/dev/null || continue
    end_children "$child"
    kill -KILL "$child" 2>/dev/null || true
  done
}

report_percent() { # <percent>: how far the unit is, for report_erase; whole or not at all, and no reason to fail
  { printf '%d\n' "$1" >"$scratch/$unit.percent.new" && mv "$scratch/$unit.percent.new" "$scratch/$unit.percent"; } 2>/dev/null || true
}

report_erase() { # says how far all are together; the time left is guessed from the time passed
  local -
  set +x
  local unit percent sum=0 text=''
  for unit in "${!units[@]}"; do
    percent=0
    [[ ! -s $scratch/$unit.percent ]] || read -r percent <"$scratch/$unit.percent" || percent=0
    [[ ! -e $scratch/$unit.verdicts ]] || percent=100
    sum=$((sum + percent))
    text+="$unit $percent%, "
  done
  percent=$((sum / ${#units[@]}))
  if [[ $text != "${reported:-}" ]]; then
    reported=$text
    progress "$percent" "${text%, }" "$((percent ? SECONDS * (100 - percent) / percent : 0))"
  fi
  # What ends the task may end this sleep too.
  sleep 0.5 || true
}

erase_unit() { # <unit> <log file>: tries one method after the other until one is proved
  local unit=$1 disks method attempts='' reason='' began=$SECONDS started status
  read -ra disks <<<"${units[$1]}"
  prepare_unit "${disks[@]}" || {
    write_verdicts failed "${reason:-it could not be prepared: the log tells more}" none
    return
  }
  for method in ${plan[$1]}; do
    started=$SECONDS
    log "$unit: $method"
    # As a job of its own, an erase that goes wrong in its middle ends there; after || it would go on.
    "${method//-/_}" "${disks[@]}" >"$2" 2>&1 &
    status=0
    wait $! || status=$?
    sed "s/^/$unit: /" "$2" >&2
    ((status != 0)) || [[ $method == metadata ]] || prove_unit "$method" || status=unproved
    record_attempt "$method" "$status" $((SECONDS - started)) "$(tail -n 3 "$2" | tr '\n\t' '  ')"
    [[ $status != 0 ]] || break
  done
  case $status in
    0) write_verdicts "$([[ $method == metadata ]] && printf wiped || printf erased)" '' "$method" ;;
    unproved) write_verdicts failed "$method succeeded, and marks that were written before are still there or cannot be read" none ;;
    *) write_verdicts failed "every method failed; the last, $method, with exit code $status" none ;;
  esac
}

prepare_unit() { # <disk>…: sets reason if that is impossible
  local disk
  for disk; do
    reason=$(uses_of "$disk")
    [[ -z $reason ]] || return
    has_nothing_on_it "$disk" || {
      reason="$(devices_of "$disk" | tail -n +2 | tr '\n' ' ')came back while it was prepared"
      return 1
    }
    [[ ${plan[$unit]} != 'metadata ' ]] || continue
    # While there still is a table to read: the first mark is written over it.
    reread_table "$disk" 2>/dev/null || true
    # A drive that an interrupted erase left locked takes no marks.
    [[ ${plan[$unit]} != *ata-* ]] || ata_unlock "$disk" >&2 || true
    write_canaries "$disk" || {
      reason="the marks for the proof could not be written and read: $(why_no_marks "$disk")"
      return 1
    }
  done
}

why_no_marks() { # <disk>
  if [[ ${plan[$unit]} == *ata-* ]] && ata_security "$(ata_identity "$1")" locked; then
    printf 'the drive is locked by an unknown password'
  elif [[ ${plan[$unit]} == *nvme-sanitize* ]] && nvme_sanitize_ended "$(nvme_controller "$1")" && ((sanitize_state == 3)); then
    printf 'the last sanitize failed, and the drive waits for one that succeeds'
  else
    printf 'the disk has many bad blocks'
  fi
}

record_attempt() { # <method> <exit status, or unproved> <seconds> <what it printed>: adds it to attempts
  local said=$4 proved=false
  keep_text said
  [[ $2 != 0 ]] || proved=true
  attempts+=,"{\"method\":\"$1\",\"exit\":${2/unproved/0},\"proved\":$proved,\"seconds\":$3,\"said\":$(json_string "$said")}"
}

prove_unit() { # <method>: fails if the erase cannot be seen on every disk of the unit
  local disk proof result=0
  for disk in "${disks[@]}"; do
    proof=$(proof "$disk")
    printf '%s' "$proof" >"$scratch/$disk.proof"
    log "/dev/$disk: $proof"
    is_proved "$proof" "$1" || result=1
  done
  return "$result"
}

write_verdicts() { # <verdict> <reason> <method>
  local disk proof
  for disk in "${disks[@]}"; do
    proof=null
    [[ ! -s $scratch/$disk.proof ]] || proof=$(<"$scratch/$disk.proof")
    verdict "$disk" "$1" "$2" "{\"method\":\"$3\",\"level\":\"${method_level[$3]:-none}\",\"seconds\":$((SECONDS - began)),\"samples\":$proof,\"attempts\":[${attempts#,}]}"
  done >"$scratch/$unit.new"
  # Whole or not at all: the reader takes its being there for the end of the unit.
  mv "$scratch/$unit.new" "$scratch/$unit.verdicts"
}
