# Completion of ur for bash: ur itself tells what may come.
_ur() {
  local rest=${COMP_LINE:0:COMP_POINT} words=() word glued tail cut=0 breaks i
  # Bash parts a line at : = @ as well, which stand within names of tasks, parameters and groups.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    glued=
    [[ $i -eq 0 || $rest == [[:space:]]* ]] || glued=1
    rest=${rest#"${rest%%[![:space:]]*}"}
    word=${COMP_WORDS[i]}
    ((i < COMP_CWORD)) || word=$rest
    rest=${rest#"$word"}
    if [[ $glued ]]; then words[${#words[@]} - 1]+=$word; else words+=("$word"); fi
  done
  # What stands before the last of these stays in the line.
  word=${words[${#words[@]} - 1]}
  breaks=${COMP_WORDBREAKS//[^:=@]/}
  if [[ $breaks ]]; then
    tail=${word##*["$breaks"]}
    cut=$((${#word} - ${#tail}))
    # An @ stays in the word, as bash completes host names behind it.
    ((cut == 0)) || [[ ${word:cut-1:1} != @ ]] || ((cut -= 1))
  fi
  mapfile -t COMPREPLY < <("$1" complete "$((${#words[@]} - 1))" -- "${words[@]}" 2>/dev/null)
  for i in "${!COMPREPLY[@]}"; do
    word=${COMPREPLY[i]%%$'\t'*}
    COMPREPLY[i]=${word:cut}
  done
  [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *[=/,] ]] || compopt -o nospace 2>/dev/null
}
complete -o nosort -F _ur ur
