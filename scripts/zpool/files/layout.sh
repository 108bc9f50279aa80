# shellcheck shell=bash
# The layout of a pool, chosen from the disks there are by the rules of SmartOS's disklayout: what the disks are for depends
# on kind and size, the redundancy on their number. It looks at nothing but the facts it is given. Needs jq.
#
# Other than there: logs are mirrored where there are two, for a lost log loses what was just promised; spinning disks never
# become a cache; and what is not used is listed with the reason.

# shellcheck disable=SC2016 # what begins with a dollar sign is jq's
readonly layout_filter='
  # Disks that were sold as the same size differ by a few percent: one group.
  def by_size: sort_by([.bytes, .name]) | reduce .[] as $disk ([];
    if length > 0 and $disk.bytes <= .[-1][0].bytes * 1.05 then .[-1] += [$disk] else . + [[$disk]] end);
  # The biggest are for data; spinning ones, if there are any. Of the others, a few small solid ones are for the log.
  def roles($cache):
    (map(select(.rotational)) | by_size) as $spinning | (map(select(.rotational | not)) | by_size) as $solid
    | (if $spinning != [] then {storage: $spinning[-1], rest: $solid, unused: ($spinning[:-1] | add // [])}
       else {storage: $solid[-1], rest: $solid[:-1], unused: []} end)
    | (if (.rest | length) > 0 and (.rest[0] | length) < 5 then .logs = .rest[0] | .rest = .rest[1:] else .logs = [] end)
    | (.rest | add // []) as $rest
    | if $cache then .cache = $rest else .cache = [] | .unused += $rest end;
  def parity: {raidz1: 1, raidz2: 2, raidz3: 3}[.];
  # How wide a group may be. Five and six, seven and eight disks make one group rather than none.
  def widths($count): if . == "raidz1" then [range(3; 7)]
    elif . == "raidz2" then if $count == 5 or $count == 6 then [$count] else [range(7; 13)] end
    else if $count == 7 or $count == 8 then [$count] else [range(9; 16)] end end;
  # A way to lay out so many disks: {width, spares}; null if there is none.
  def fit($count; $spares):
    if . == "single" then if ($spares // 0) == 0 and $count == 1 then {width: 1, spares: 0} else null end
    elif . == "mirror" then
      ($spares // (if $count == 2 or $count == 4 then 0 else ($count / 16 | ceil) | . + ($count - .) % 2 end)) as $kept
      | if $count - $kept >= 2 and ($count - $kept) % 2 == 0 then {width: 2, spares: $kept} else null end
    else widths($count) as $widths
      | ([2, ($count / {raidz1: 7, raidz2: 12, raidz3: 15}[.] | floor)] | min) as $few
      | [if $spares then $spares else range($few; $count) end | . as $kept | $widths[] | select($count - $kept >= . and ($count - $kept) % . == 0)
         | {width: ., spares: $kept}][0]
    end;
  def usual($count; $solid; $bytes):
    if $count == 1 then "single" elif $count == 2 then "mirror" elif $count <= 4 then "raidz1"
    elif $count <= 6 then (if $solid then "raidz1" else "raidz2" end)
    # Big disks take long to be replaced: a second one may fail meanwhile.
    elif $count > 16 or ($count > 7 and $bytes > 1.5e12) or ($solid and $count < 12) then "raidz2"
    else "mirror" end;
  def groups($width): if length == 0 then [] else [.[:$width]] + (.[$width:] | groups($width)) end;
  if length == 0 then {error: "there is no disk to make a pool of"} else
    roles($cache) as $roles
    | ($roles.storage | length) as $count
    | (if $layout != "" then [$layout]
       else [usual($count - ($spares // 0); $roles.storage[0].rotational | not; $roles.storage[0].bytes), "raidz2", "mirror", "raidz1", "raidz3"] end) as $wanted
    | [$wanted[] | . as $way | fit($count; $spares) | select(. != null) | .layout = $way][0] as $fit
    | if $fit == null then {error: "\($count) disks make no \($layout | if . == "" then "pool" else . end)\(if $spares then " with \($spares) spares" else "" end)"}
      else
        # The biggest can stand in for any other.
        $roles.storage[:$count - $fit.spares] as $data
        | {layout: $fit.layout,
           vdevs: [$data | groups($fit.width)[] | {type: $fit.layout, disks: map(.name)}],
           spares: ($roles.storage[$count - $fit.spares:] | map(.name)),
           logs: ($roles.logs | map(.name) | if length % 2 == 0 then groups(2) else map([.]) end),
           cache: ($roles.cache | map(.name)),
           unused: ($roles.unused | map(.name)),
           bytes: ([$data | groups($fit.width)[] | .[0].bytes * (if $fit.layout == "single" or $fit.layout == "mirror" then 1 else $fit.width - ($fit.layout | parity) end)] | add)}
      end
  end'

choose_layout() { # <layout, or nothing> <number of spares, or nothing> <cache: true or false>; reads facts, one JSON object a line
  jq -cs --arg layout "$1" --argjson spares "${2:-null}" --argjson cache "$3" "$layout_filter"
}
