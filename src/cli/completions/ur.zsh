#compdef ur
# Completion of ur for zsh: ur itself tells what may come.
_ur() {
  local line value
  local -a whole parts whole_shown parts_shown
  for line in "${(@f)$("${words[1]}" complete $((CURRENT - 1)) -- "${(@)words[1,CURRENT]}" 2>/dev/null)}"; do
    value=${line%%$'\t'*}
    case $value in
      '') ;;
      # More is to be typed behind it.
      *[=/,]) parts+=("$value") parts_shown+=("${line/$'\t'/  -- }") ;;
      *) whole+=("$value") whole_shown+=("${line/$'\t'/  -- }") ;;
    esac
  done
  ((${#parts})) && compadd -l -V parts -S '' -d parts_shown -a parts
  ((${#whole})) && compadd -l -V whole -d whole_shown -a whole
}
if [[ ${funcstack[1]} == _ur ]]; then _ur "$@"; else compdef _ur ur; fi
