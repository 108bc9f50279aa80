# Completion of ur for fish: ur itself tells what may come.
function __ur_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l index (count $words)
    set -a words (commandline --current-token --cut-at-cursor)
    $words[1] complete $index -- $words 2>/dev/null
end
complete --command ur --no-files --keep-order --arguments '(__ur_complete)'
