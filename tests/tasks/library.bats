#!/usr/bin/env bats
# The shell library of the tasks, as a task uses it: in a program of its own.

# A test's programs are text to this file.
# shellcheck disable=SC2016

bats_require_minimum_version 1.5.0
load machine

setup() {
  FILES=$(cd "$BATS_TEST_DIRNAME/../../scripts/ur/files" && pwd)
}

program() { # <text>: runs a task made of it; sets status, output and LOG
  LOG=$BATS_TEST_TMPDIR/log
  status=0
  output=$(bash -c '
    set -euo pipefail
    for file in ur disks inuse; do source "$1/$file.sh"; done
    eval "$2"' task "$FILES" "$1" 2>"$LOG" </dev/null) || status=$?
  cat "$LOG"
  printf '%s\n' "$output"
}

@test 'what programs print goes to the log, and the result alone to stdout' {
  program 'echo chatter; result "{\"ok\":true}"'
  [[ $output == '{"ok":true}' && $(<"$LOG") == chatter ]]
}

@test 'a failure is an _error with its kind, its message, and what is known besides' {
  program $'fail disk/in-use "a \\"b\\"\n\tc\e" \'{"disks":[]}\''
  ((status != 0))
  answer '._error.kind' disk/in-use
  answer '._error.msg' $'a "b"\n\tc'
  answer '.disks | length' 0
}

@test 'a failure in a command substitution ends the task, with one answer' {
  program 'x=$(fail a/b c); result "{}"'
  ((status != 0))
  answer '._error.msg' c
}

@test 'a command that fails unforeseen ends the task, and the answer names it' {
  program 'false --why'
  ((status != 0))
  answer '._error.kind' ur/unexpected
  [[ $output == *'false --why'* ]]
}

@test 'a missing program is named with its Debian package, all at once' {
  program 'need cat nvmx:nvme-cli mdadx; result "{}"'
  ((status != 0))
  answer '._error.kind' ur/missing-program
  [[ $output == *'nvmx (Debian package nvme-cli), mdadx (Debian package mdadx)'* ]]
}

@test 'progress is a line of JSON in the file that the agent names' {
  export UR_PROGRESS=$BATS_TEST_TMPDIR/progress
  program 'progress 40 "sdb: pass 1" 90; progress 50 "sdb"; result "{}"'
  diff "$UR_PROGRESS" - <<<$'{"percent":40,"eta":90,"msg":"sdb: pass 1"}\n{"percent":50,"msg":"sdb"}'
}

@test 'without an agent that hears it, progress is nothing' {
  unset UR_PROGRESS
  program 'progress 40 x; result "{}"'
  ((status == 0))
}

@test 'a program is stopped at its time limit, and status 124 tells' {
  program 'limited 0.2 sleep 60 || result "{\"status\":$?}"'
  answer .status 124
}

@test 'waiting ends when the condition holds' {
  program 'wait_until 20 [ -e '"$BATS_TEST_TMPDIR"'/there ] & touch '"$BATS_TEST_TMPDIR"'/there; wait $!; result "{}"'
  ((status == 0))
}

@test 'waiting ends at the deadline' {
  program 'wait_until 1 false || result "{\"late\":true}"'
  answer .late true
}

@test 'the scratch directory is gone when the task has ended, however it ended' {
  export TMPDIR=$BATS_TEST_TMPDIR
  program 'make_scratch; log "$scratch"; touch "$scratch/x"; false'
  grep -q "^$BATS_TEST_TMPDIR/scratch" "$LOG"
  run ! compgen -G "$BATS_TEST_TMPDIR/scratch*"
}

@test 'the trace lies in the job directory' {
  export UR_JOB_DIR=$BATS_TEST_TMPDIR
  program 'trace; true traced; result "{}"'
  grep -q 'true traced' "$BATS_TEST_TMPDIR/trace"
  run ! grep traced "$LOG"
}

@test 'the elements of an array come one a line; nothing has none' {
  program 'items "" | wc -l; items "[\"a b\",{\"c\":1},2]"; result "{}"'
  diff "$LOG" - <<<$'0\na b\n{"c":1}\n2'
}

@test 'secrets of every form are masked, and what is none stays, also when it is masked again' {
  local forms=$BATS_TEST_DIRNAME/../fixtures/secrets.tsv masker
  for masker in bash dash; do
    cut -f 1 "$forms" | "$masker" -c "$(masking "$FILES/ur.sh")"$'\nmask_secrets | tee "$1" | mask_secrets' mask "$BATS_TEST_TMPDIR/once" >"$BATS_TEST_TMPDIR/twice"
    diff <(cut -f 2 "$forms") "$BATS_TEST_TMPDIR/once"
    diff "$BATS_TEST_TMPDIR/once" "$BATS_TEST_TMPDIR/twice"
  done
}

masking() { # <file>: prints its part that masks secrets
  sed -n '/^# --- the one masking/,/^# --- end of the masking/p' "$1"
}

@test 'sysinfo.sh, which runs alone, masks secrets by the same lines as the library' {
  [[ -n $(masking "$FILES/ur.sh") ]]
  diff <(masking "$FILES/ur.sh") <(masking "$FILES/../tasks/sysinfo.sh")
}

@test 'an error and the log tell no secret' {
  program 'log "GET http://ann:hush@h/?token=hush"; fail a/b "curl http://ann:hu@hush@h/ failed"'
  answer '._error.msg' 'curl http://ann:***@h/ failed'
  run ! grep hush "$LOG"
}

@test 'what is known so far is told with any error, an unforeseen one too' {
  program $'known_so_far() { printf \'{"disks":["a"]}\'; }\nfail a/b c'
  answer '._error.kind, .disks[0]' $'a/b\na'
  program $'known_so_far() { printf \'{"disks":["a"]}\'; }\nfalse'
  answer '._error.kind, .disks[0]' $'ur/unexpected\na'
  program $'known_so_far() { false; }\nfalse'
  answer '._error.kind' ur/unexpected
}

functions_of() { # <file>…: prints the names of the functions that they define, those of all files together
  sed -nE 's/^([a-z_0-9]+)\(\) .*/\1/p' "$@" | sort
}

@test 'no two files of the library define a function of one name: a bundle has them all in one namespace' {
  local files
  # A file that begins with #! runs by itself, and is no part of a bundle's namespace.
  mapfile -t files < <(grep -rL --include='*.sh' '^#!' "$FILES"/../../*/files)
  diff /dev/null <(functions_of "${files[@]}" | uniq -d)
}

@test 'no task defines a function that a file it sources defines too' {
  local task sourced
  for task in "$FILES"/../../*/tasks/*.sh; do
    mapfile -t sourced < <(sed -nE "s,^ *source \"\\\$PT__installdir/(.*)\",$FILES/../../\1,p" "$task")
    diff <(printf '%s:\n' "$task") <(printf '%s:\n' "$task" && functions_of "$task" "${sourced[@]}" | uniq -d)
  done
}

# Hints: two disks of a machine, in the words of disk_facts.
# shellcheck disable=SC2089,SC2090 # JSON, never words
export FACTS='{"name":"/dev/sda","links":["/dev/disk/by-id/ata-x","/dev/disk/by-path/pci-ata-1","/dev/disk/by-path/pci-ata-1.0"],"serial":"S1 ","model":"SAMSUNG MZ7","vendor":"ATA","wwn":"5000c500a1b2c3d4","bytes":480103981056,"rotational":false,"hctl":"0:0:0:0","tran":"sata","by_path":"/dev/disk/by-path/pci-ata-1","class":"ata","removable":false}
{"name":"/dev/sdb","links":[],"serial":"S2","model":"Seagate Exos","vendor":"ATA","wwn":"5000c500ffffffff","bytes":8001563222016,"rotational":true,"hctl":"1:0:0:0","tran":"sas","by_path":"","class":"scsi","removable":false}'

means() { # <hint> <names>: checks which disks it means
  program "result \"\$(match_disks '$1' \"\$FACTS\" | jq -sc 'map(.name)')\""
  answer 'join(" ")' "$2"
}

@test 'hints match without operator as Ironic does: equal, whatever the case' {
  means '{"serial":"s1"}' /dev/sda
  means '{"name":"sdb"}' /dev/sdb
  means '{"name":"/dev/disk/by-id/ata-x"}' /dev/sda
  means '{"rotational":true}' /dev/sdb
  means '{"rotational":0}' /dev/sda
  means '{"rotational":"1"}' /dev/sdb
  means '{"rotational":"No"}' /dev/sda
  means '{"size":447}' /dev/sda
  means '{"wwn":"0x5000C500A1B2C3D4"}' /dev/sda
  means '{"vendor":"ata","hctl":"1:0:0:0"}' /dev/sdb
}

@test 'any of the names that udev gave a disk by its path is a hint, and none of them is what it must not be called' {
  means '{"by_path":"/dev/disk/by-path/pci-ata-1"}' /dev/sda
  means '{"by_path":"/dev/disk/by-path/pci-ata-1.0"}' /dev/sda
  means '{"by_path":"s!= /dev/disk/by-path/pci-ata-1.0"}' /dev/sdb
}

@test 'hints know the operators of Ironic' {
  means '{"size":"= 447"}' '/dev/sda /dev/sdb'
  means '{"size":"> 447"}' /dev/sdb
  means '{"size":"<= 447"}' /dev/sda
  means '{"size":"!= 447"}' /dev/sdb
  means '{"size":"<range-in> [ 400 447 ]"}' /dev/sda
  means '{"size":"<range-in> ( 447 9000 )"}' /dev/sdb
  means '{"size":"<or> 1 <or> 447"}' /dev/sda
  means '{"model":"<in> samsung"}' /dev/sda
  means '{"model":"<all-in> exos seagate"}' /dev/sdb
  means '{"model":"<or> seagate exos <or> other"}' /dev/sdb
  means '{"serial":"s!= s1"}' /dev/sdb
  means '{"serial":"s< s2"}' /dev/sda
}

@test 'every key of a hint must match, and a hint that means nothing is an error that lists the disks' {
  program 'match_disks "{\"vendor\":\"ata\",\"serial\":\"S9\"}" "$FACTS"'
  ((status != 0))
  answer '._error.kind' ur/hint
  [[ $output == *'/dev/sda (S1 ), /dev/sdb (S2)'* ]]
}

@test 'a hint that means two disks where one is wanted is an error that names both' {
  program 'disk=$(one_disk "{\"vendor\":\"ata\"}" "$FACTS"); result "$disk"'
  ((status != 0))
  [[ $output == *ambiguous*/dev/sda*/dev/sdb* ]]
}

@test 'a hint with an unknown key, no key or a word for a number is an error' {
  local hint
  for hint in '{"seriall":"S1"}' '{}' '"sda"' '{"size":"> big"}' '{"rotational":"maybe"}' '{"size":"<range-in> 1 2"}'; do
    program "match_disks '$hint' \"\$FACTS\""
    ((status != 0))
    answer '._error.kind' ur/hint
  done
}
