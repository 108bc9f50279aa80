# shellcheck shell=bash
# The items of a node's logs and state that are worth keeping. An item writes files below $logs, through keep and keep_file,
# which bound them and mask the secrets in them. Needs the library's ur.sh, job.sh and disks.sh.

# Before the whole is made to fit, no file has more than this. Of a log the end counts.
readonly max_file_bytes=$((8 * 1024 * 1024))

keep() { # <file below $logs> <program> [<argument>…]: keeps what it prints; how it ended goes to $scratch/kept
  local file=$1 status bytes
  shift
  command -v "$1" >/dev/null || {
    kept "$file" missing 0 "$1 is not on this node"
    return 0
  }
  mkdir -p "$(dirname "$logs/$file")"
  {
    status=0
    limited 60 "$@" 2>&1 || status=$?
    printf '%d' "$status" >"$scratch/status"
  } | mask_secrets | tail --bytes="$max_file_bytes" >"$logs/$file"
  status=$(<"$scratch/status")
  bytes=$(stat --format=%s "$logs/$file")
  case $status in
    0) kept "$file" kept "$bytes" '' ;;
    124) kept "$file" incomplete "$bytes" "$1 did not end within 60 seconds" ;;
    # Many of these programs exit with flags, and say more with it than without.
    *) kept "$file" kept "$bytes" "$1 exited with status $status" ;;
  esac
}

keep_file() { # <file below $logs> <file>: keeps its end
  [[ ! -r $2 || -d $2 ]] || keep "$1" tail --bytes="$max_file_bytes" "$2"
}

kept() { # <file> <verdict> <bytes> <remark>
  local file remark
  to_json file "$1"
  to_json remark "$4"
  printf '{"item":"%s","file":%s,"verdict":"%s","bytes":%d%s}\n' "$item" "$file" "$2" "$3" "${4:+,\"remark\":$remark}" >>"$scratch/kept"
}

item_kernel() {
  keep kernel/dmesg dmesg
  keep kernel/modules lsmod
  keep_file kernel/cmdline /proc/cmdline
}

item_journal() { # of this boot and, where it has been kept, of the one before
  local log
  keep journal/this-boot journalctl --no-pager --boot --lines=10000 --output=short-iso-precise
  keep journal/boot-before journalctl --no-pager --boot=-1 --lines=10000 --output=short-iso-precise
  for log in /var/log/messages /var/log/syslog; do keep_file "journal/${log##*/}" "$log"; done
}

item_system() {
  keep system/processes ps -eo pid,ppid,stat,etime,time,rss,args
  keep system/memory free --mebi
  keep system/units systemctl --no-pager --failed --full
  keep system/clock date --utc --rfc-3339=ns
  keep system/dmi dmidecode
  keep system/efi efibootmgr --verbose
  keep system/pci lspci -nnvv
  keep system/usb lsusb
  keep system/sensors sensors
}

item_storage() {
  keep storage/blocks lsblk --output-all --json
  keep storage/free df --all --human-readable
  keep storage/signatures blkid
  keep_file storage/mounts /proc/self/mountinfo
  keep_file storage/md /proc/mdstat
  keep storage/lvm pvs --all --options +pv_uuid
  keep storage/zpool zpool status -v
}

item_network() {
  keep network/addresses ip -details -statistics address
  keep network/routes ip route show table all
  keep network/neighbours ip neighbour
  keep network/sockets ss --all --numeric --processes
  keep_file network/resolver /etc/resolv.conf
}

item_drives() {
  local name
  while read -r name; do
    case $(disk_class "$name") in
      nvme | ata | scsi) keep "drives/$name.smart" smartctl --xall "/dev/$name" ;;
    esac
    [[ $name != nvme* ]] || {
      keep "drives/$name.smart-log" nvme smart-log "/dev/$name"
      keep "drives/$name.error-log" nvme error-log "/dev/$name"
      keep "drives/$name.firmware-log" nvme fw-log "/dev/$name"
    }
  done < <(list_disks)
}

item_bmc() { # its event log, the one that outlives a dead node
  [[ -e /dev/ipmi0 || -e /dev/ipmi/0 ]] || return 0
  keep bmc/sel ipmitool sel elist
  keep bmc/sensors ipmitool sdr elist
}

item_jobs() { # what Ur has run here: of requests only the sender and the name of the task, as arguments and parameters may be secret
  local jobs job work file place number=0
  find_job || return 0
  jobs=$(find "${job_state%/*}" -mindepth 2 -maxdepth 2 -name request.json -printf '%T@ %h\n' | sort -rn | head -n 200 | cut -d ' ' -f 2-)
  [[ -n $jobs ]] || return 0
  # One jq for all of them: a line for each, whatever is in it.
  while read -r job; do
    { tr '\n' ' ' <"$job/request.json" && printf '\n'; } || printf '\n'
  done <<<"$jobs" | jq -Rc 'try (fromjson | {routing_key, received_at}
    + (.message | {type, file, name, version, digest, timestamp, origin, timeout})) catch {error: "the request is no JSON"}' >"$scratch/requests"
  while read -r job; do
    keep "jobs/${job##*/}/request.json" sed -n "$((++number))p" "$scratch/requests"
    for file in outcome.json pid stdout stderr; do keep_file "jobs/${job##*/}/$file" "$job/$file"; done
    # Where the script could write; with agents of version 0.1.0 that is the same place. It may have made a pipe of a file.
    work=${job%/*/*}/work/${job##*/}/work
    for file in progress trace; do
      for place in "$work" "$job"; do
        if [[ -f $place/$file && ! -L $place/$file ]]; then keep_file "jobs/${job##*/}/$file" "$place/$file"; fi
      done
    done
  done <<<"$jobs"
}
