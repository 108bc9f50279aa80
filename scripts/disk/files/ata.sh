# shellcheck shell=bash
# Erasing by an ATA drive's own means. hdparm exits 0 although the drive has aborted the command, so what counts is sense
# data in its output, the state that the drive says it is in before and after, and in the end the samples.

# Between setting the password and the end of the erase the drive is locked by it. If the power fails then, the
# operator finds it here.
readonly ata_password=ur

ata_identity() { # <disk>: prints hdparm's reading of IDENTIFY DEVICE
  limited 60 hdparm -I "/dev/$1"
}

ata_offers() { # <disk>: prints what its identity says it can do
  local identity
  identity=$(ata_identity "$1") || return
  ata_has "$identity" 'CRYPTO_SCRAMBLE_EXT command' && printf '%s\n' ata-sanitize-crypto
  ata_has "$identity" 'BLOCK_ERASE_EXT command' && printf '%s\n' ata-sanitize-block
  ata_has "$identity" 'OVERWRITE_EXT command' && printf '%s\n' ata-sanitize-overwrite
  ata_security "$identity" supported || return 0
  if ata_security "$identity" frozen; then
    log "/dev/$1: no secure erase: its security is frozen by the firmware of this machine; a power cycle of the drive, or a suspend to RAM, thaws it"
    return 0
  fi
  printf '%s\n' ata-secure-erase
  ata_security "$identity" 'supported: enhanced erase' && printf '%s\n' ata-secure-erase-enhanced
  return 0
}

guard_nothing_hidden() { # a Host Protected Area is out of reach for all but SANITIZE
  local name said
  for name in "${targets[@]}"; do
    [[ ${disk_fact["$name class"]} == ata && -n $(tr ' ' '\n' <<<"${plan[$name]:-}" | grep -vE '^(ata-sanitize-.*|discard|metadata|)$' || true) ]] || continue
    need hdparm
    said=$(limited 60 hdparm -N "/dev/$name" 2>&1 || true)
    if [[ $said == *enabled* ]]; then
      refuse "$name" "$(sed -n 's/.*max sectors *= */of its sectors only /p' <<<"$said"): use ata-sanitize methods alone, or show all sectors by hdparm -N and a power cycle"
    # No answer is no proof, unless the drive knows no means to hide anything.
    elif ! grep -qE '(HPA|ACCESSIBLE MAX ADDRESS)( is)? disabled' <<<"$said" && ! has_no_hidden_area "$(ata_identity "$name" || true)"; then
      refuse "$name" "it does not say whether sectors of it are hidden ($(tail -n 1 <<<"$said")): use ata-sanitize methods alone"
    fi
  done
}

has_no_hidden_area() { # <identity>: succeeds if the drive lists its features, and no means to hide sectors among them
  [[ $1 == *Commands/features:* ]] && ! grep -qiE 'Host Protected Area|Accessible Max Address|SET_MAX' <<<"$1"
}

ata_has() { # <identity> <feature>: an asterisk marks what is enabled
  grep -qE "^[[:space:]]+\*[[:space:]]+$2" <<<"$1"
}

ata_security() { # <identity> <state>: succeeds if the Security block says so; "not" before it means it is not
  sed -n '/^Security/,/^[^[:space:]]/p' <<<"$1" | grep -qE "^[[:space:]]+$2[[:space:]]*$"
}

ata_command() { # <hdparm's argument>…: fails where hdparm only mentions that the drive refused
  local said
  said=$(limited "$erase_limit" hdparm "$@" 2>&1) || {
    printf '%s\n' "$said"
    return 1
  }
  printf '%s\n' "$said"
  ! grep -qiE 'sense data|SG_IO|aborted|failed|error' <<<"$(grep -v 'Completed Without Error' <<<"$said")"
}

ata_sanitize_crypto() { ata_sanitize "$1" --sanitize-crypto-scramble; }

ata_sanitize_block() { ata_sanitize "$1" --sanitize-block-erase; }

ata_sanitize_overwrite() { ata_sanitize "$1" --sanitize-overwrite-passes 1 --sanitize-overwrite hex:00000000; }

ata_sanitize() { # <disk> <hdparm's argument>…
  ata_command --yes-i-know-what-i-am-doing "${@:2}" "/dev/$1"
  wait_until "$erase_limit" ata_sanitize_ended "$1" || {
    printf 'the sanitize was not over after %d s\n' "$erase_limit"
    return 1
  }
  printf '%s\n' "$sanitize_status"
  [[ $sanitize_status == *'Completed Without Error'* ]]
}

ata_sanitize_ended() { # <disk>: sets sanitize_status
  local percent
  sanitize_status=$(limited 60 hdparm --sanitize-status "/dev/$1" 2>&1) || return 1
  percent=$(sed -nE 's/.*Progress: .*\(([0-9]+)%\).*/\1/p' <<<"$sanitize_status")
  [[ -z $percent ]] || report_percent "$percent"
  [[ $sanitize_status != *SD2* ]]
}

ata_secure_erase() { ata_erase_unit "$1" --security-erase; }

ata_secure_erase_enhanced() { ata_erase_unit "$1" --security-erase-enhanced; }

ata_erase_unit() { # <disk> <hdparm's argument>
  ata_unlock "$1"
  ata_command --user-master u --security-set-pass "$ata_password" "/dev/$1"
  # A bridge may answer "good" and pass nothing on. What it cannot do is make the drive say that it has a password.
  ata_security "$(ata_identity "$1")" enabled || {
    printf 'the drive took no password, though the command succeeded: something between here and the drive keeps it\n'
    return 1
  }
  ata_command --user-master u "$2" "$ata_password" "/dev/$1" || {
    ata_unlock "$1"
    return 1
  }
  # Its end takes the password away. If it is still there, the erase was not.
  ! ata_security "$(ata_identity "$1")" enabled || {
    ata_unlock "$1"
    printf 'the drive still has its password: the erase did not end\n'
    return 1
  }
}

ata_unlock() { # <disk>: removes a password that an interrupted erase left, ours or the ones that others use
  local password
  ata_security "$(ata_identity "$1")" enabled || return 0
  for password in "$ata_password" NULL ''; do
    ata_command --user-master u --security-unlock "$password" "/dev/$1" || true
    ata_command --user-master u --security-disable "$password" "/dev/$1" || true
    ata_security "$(ata_identity "$1")" enabled || return 0
  done
  printf 'the drive is locked by an unknown password\n'
  return 1
}
