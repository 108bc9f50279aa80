# shellcheck shell=bash
# Erases units side by side, and writes for each disk what was done and what proves it. A unit is what a drive erases at
# once: the namespaces of an NVMe controller together, any other disk by itself.

declare -A units=() # of each unit, by name: its disks
declare -A plan=()  # of each unit: the methods to try, the best first

unit_of() { # <disk>
  local controller=$1
  [[ $(fact "$1" class) != nvme ]] || controller=$(nvme_controller "$1")
  printf '%s' "${controller#/dev/}"
}

plan_erase() { # <level> <methods, JSON: lists by class>: sets units and plan, and refuses what cannot reach the level
  local name class wanted offered method chosen
  for name in "${targets[@]}"; do
    class=$(fact "$name" class)
    wanted=$(jq -r --arg class "$class" '.[$class] // [] | .[]' <<<"$2")
    [[ -n $wanted ]] || wanted=$(default_methods "$1" "$class" "$(fact "$name" rotational)")
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
  for unit in "${!units[@]}"; do
    while (($(jobs -rp | wc -l) >= $1)); do report_erase; done
    erase_unit "$unit" "$scratch/$unit.log" &
  done
  while [[ -n $(jobs -rp) ]]; do report_erase; done
}

report_percent() { # <percent>: how far the unit is, for report_erase
  printf '%d\n' "$1" >"$scratch/$unit.percent"
}

report_erase() { # says how far all are together; the time left is guessed from the time passed
  local -
  set +x
  local unit percent sum=0 text=''
  for unit in "${!units[@]}"; do
    percent=0
    [[ ! -s $scratch/$unit.percent ]] || read -r percent <"$scratch/$unit.percent"
    [[ ! -e $scratch/$unit.verdicts ]] || percent=100
    sum=$((sum + percent))
    text+="$unit $percent%, "
  done
  percent=$((sum / ${#units[@]}))
  if [[ $text != "${reported:-}" ]]; then
    reported=$text
    progress "$percent" "${text%, }" "$((percent ? SECONDS * (100 - percent) / percent : 0))"
  fi
  sleep 0.5
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
    attempts+=$(jq -cn --arg method "$method" --arg status "$status" --argjson seconds $((SECONDS - started)) \
      --arg said "$(tail -n 3 "$2" | tr '\n\t' '  ')" '{$method, exit: ($status | tonumber? // 0),
        proved: ($status == "0"), $seconds, $said}')$'\n'
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
    plant "$disk" || {
      reason='the marks for the proof could not be written and read: the disk has many bad blocks'
      return 1
    }
  done
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
    verdict "$disk" "$1" "$2" "$(jq -cn --arg method "$3" --arg level "${method_level[$3]:-none}" --argjson proof "$proof" \
      --argjson seconds $((SECONDS - began)) --argjson attempts "$(jq -cs . <<<"$attempts")" \
      '{$method, $level, $seconds, samples: $proof, $attempts}')"
  done >"$scratch/$unit.new"
  # Whole or not at all: the reader takes its being there for the end of the unit.
  mv "$scratch/$unit.new" "$scratch/$unit.verdicts"
}
