# shellcheck shell=bash
# The collector of drives' health: SMART, and the health log of NVMe. What a drive says is read from its report; the exit
# status of a tool is a set of flags, of which many are set on a drive that works.
# Needs sysfs.sh and the library's disks.sh.

collect_health() {
  local names name line reports='' verdicts all=''
  names=$(list_disks)
  for name in $names; do
    case $(disk_class "$name") in
      nvme | ata | scsi) reports+=$(ask_drive "$name")$'\n' ;;
    esac
  done
  [[ -n $reports ]] || {
    printf '[]'
    return
  }
  verdicts=$(judge_drives <<<"$reports")
  while IFS= read -r line; do
    if [[ $line == '!'* ]]; then complain "${line#!}"; else all+=,$line; fi
  done <<<"$verdicts"
  printf '[%s]' "${all#,}"
}

ask_drive() { # <disk>: prints its path, its serial number, the program that was asked, and its report: one line, with tabs between
  local report='' asked=''
  if command -v smartctl >/dev/null; then
    asked=smartctl
    report=$(limited 60 smartctl --json=c --all "/dev/$1" || true)
  elif [[ $1 == nvme* ]] && command -v nvme >/dev/null; then
    asked=nvme
    report=$(limited 30 nvme smart-log --output-format=json "/dev/$1" || true)
  fi
  printf '/dev/%s\t%s\t%s\t%s' "$1" "$(disk_serial "$1")" "$asked" "${report//[$'\t\n']/ }"
}

# The words: "failing" by the drive's own judgement; "worn" when it has begun to lose data or its spare; "unknown" when
# it could not be asked, which is never taken for "good".
judge_drives() { # reads what ask_drive prints; prints a line of JSON for each, and after a ! what to complain of
  jq -Rr '
    def nvme: .nvme_smart_health_information_log // (if has("critical_warning") then . else null end);
    def attribute($id): [.ata_smart_attributes.table[]? | select(.id == $id) | .raw.value][0];
    # smartctl: bits 0 to 2 of its exit status say that it could not ask, 3 that the disk is failing, 7 that self-tests failed.
    def bit($n): (.smartctl.exit_status // 0) / pow(2; $n) | floor % 2 == 1;
    select(. != "") | split("\t") | .[0] as $path | .[1] as $serial | .[2] as $asked | .[3] as $report
    | (if $asked == "" then {error: "there is no smartctl (Debian package smartmontools) to ask it"} else
        ($report | try fromjson catch null) as $read
        | if $read | type == "object" then {$read} else {error: "\($asked) did not answer in JSON: \($report[:200])"} end
      end) as $answer
    | ($answer.error // "") as $error
    | if $error != "" then "!\($path): \($error)" else empty end,
    ($answer.read // {} | . as $r
    | ($r | nvme // {}) as $n
    | {path: $path, serial: $serial,
       passed: $r.smart_status.passed,
       critical_warning: $n.critical_warning,
       temperature: (($r.temperature | objects | .current) // ($n.temperature | if . == null then null elif . > 200 then . - 273 else . end)),
       power_on_hours: ($r.power_on_time.hours // $n.power_on_hours),
       power_cycles: ($r.power_cycle_count // $n.power_cycles),
       percent_used: ($n.percentage_used // $n.percent_used),
       spare_percent: ($n.available_spare // $n.avail_spare), spare_threshold: ($n.available_spare_threshold // $n.spare_thresh),
       media_errors: $n.media_errors, unsafe_shutdowns: $n.unsafe_shutdowns, error_log_entries: $n.num_err_log_entries,
       reallocated: ($r | attribute(5)), pending: ($r | attribute(197)), uncorrectable: ($r | attribute(198)), crc_errors: ($r | attribute(199)),
       grown_defects: $r.scsi_grown_defect_list, self_tests_failed: (if $r | bit(7) then true else null end),
       firmware: $r.firmware_version}
    | .verdict = (
        if $error != "" or ($r | .smartctl != null and (bit(0) or bit(1)) and .smart_status == null) then "unknown"
        elif .passed == false or (.critical_warning // 0) != 0 or ($r | bit(3)) then "failing"
        elif ([.media_errors, .pending, .uncorrectable] | any(. != null and . > 0)) or (.percent_used // 0) >= 100
             or .self_tests_failed or (.spare_percent != null and .spare_threshold != null and .spare_percent <= .spare_threshold) then "worn"
        elif .passed == null and .critical_warning == null then "unknown"
        else "good" end)
    | with_entries(select(.value != null)) | tojson)'
}
