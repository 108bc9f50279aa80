//! Examples of every command, for its help and its manual page.

/// Below the name of a command without `ur`: what one types, and what that is for.
const EXAMPLES: &str = r#"
ur
  ur nodes                                        # who is there
  ur exec -a uptime                               # a command line on all
  ur help exec                                    # the help of a command
nodes
  ur nodes                                        # who is there
  ur nodes -w '.Setup | not'                      # who is not set up
  ur nodes -o HOSTNAME,.Disks.sda.Serial          # some columns
  ur nodes --sort -MIB                            # the largest first
  ur nodes -J | jq -r .Hostname                   # for programs
  ur nodes --forget 'node[3,17]'                  # they are gone for good
targets
  ur targets -n 'node[1-20],db*' -x node7         # whom would it be sent to?
  ur targets -g rack1 -w '.Setup | not' --fold    # as one node set
show
  ur show node1                                   # all about it
exec
  ur exec -a uptime                               # on all nodes
  ur exec -n 'node[1-2],db*' 'dmesg | tail -n 5'  # on some; quote the line
  ur exec -w '.Rack == "r2"' uptime               # on those of a rack
  ur exec --failed-of last uptime                 # where it has failed
  ur exec -a --diff 'sysctl -a'                   # what differs?
  ur exec -a --out outputs dmesg                  # into files, by node
  ur exec -a --timeout 5m 'apt-get update'        # ended after 5 minutes
  ur exec -a --batch 1,10%,rest 'exit 113'        # reboot one, 10%, the rest
  ur exec -n node1 --stdin - 'cat >f' <f          # a script's input
script
  ur script -n node1 ./flash.sh --force 9.40      # all behind the file is its
  ur script -a --concurrency 10 ./setup.sh        # ten nodes at a time
file
  ur file -a /usr/sbin/smartctl -H /dev/sda       # a program of the node
run
  ur run -a inventory::collect                    # a task
  ur run -n node1 power::reboot grace=30          # with a parameter
  ur run -n node1 image::write --params @img.json # with those of a file
  ur run -n node1 disk::wipe --noop               # what would it do?
  ur run -n node1 ./mytask.sh size=3              # a task that is a file
put
  ur put -a resolv.conf /etc/                     # into a directory
  ur put -n node1 app/ /opt/app                   # a folder, by that name
  ur put -a --via http image.raw /var/tmp/        # more than 256 MB
get
  ur get -a /var/log/messages logs                # logs/NODE/messages
tasks
  ur tasks                                        # the tasks there are
task
  ur task list                                    # the tasks there are
  ur task show disk::erase                        # its parameters, its result
task list
  ur task list --modulepath ./modules             # yours, too
task show
  ur task show disk::erase                        # its parameters, its result
task new
  ur task new site::burn_in                       # in ~/.ur/modules
task check
  ur task check ./modules                         # before they are shared
task lock
  ur task lock ./modules                          # when they are released
ping
  ur ping -a                                      # all agents
runs
  ur runs                                         # the latest
  ur runs show last                               # how one ended
runs show
  ur runs show 3f0c1a2b                           # how it ended
  ur runs show last -J                            # for programs
attach
  ur attach 3f0c1a2b                              # the answers of a run
  ur attach last                                  # of the last one
jobs
  ur jobs -a                                      # on all nodes
  ur jobs -n node1 -j                             # for programs
watch
  ur watch                                        # until ^C
cancel
  ur cancel 3f0c1a2b                              # wherever you sent it
  ur cancel -n node1 3f0c1a2b                     # there alone
snoop
  ur snoop                                        # every message
  ur snoop 'ur.startup.#'                         # nodes that come up
why
  ur why node1 3f0c1a2b                           # what became of it?
completions
  source <(ur completions bash)                   # in ~/.bashrc
  source <(ur completions zsh)                    # in ~/.zshrc
  ur completions fish | source                    # in config.fish
help
  ur help run                                     # of a command
  ur help task show                               # of one below it
"#;

/// Those of a command: what one types, and what that is for.
pub(super) fn of(command: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut lines = EXAMPLES.lines();
    lines.by_ref().find(|line| *line == command);
    let below = lines.take_while(|line| line.starts_with(' '));
    below.filter_map(|line| line.trim_start().rsplit_once("# "))
}

/// As they stand at the end of the command's help.
pub(super) fn text(command: &str) -> String {
    let lines: String = of(command)
        .map(|(line, what)| format!("\n  {line}# {what}"))
        .collect();
    if lines.is_empty() {
        lines
    } else {
        format!("Examples:{lines}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Args;
    use std::ffi::OsString;

    #[test]
    fn every_example_is_a_line_that_is_understood() {
        for line in EXAMPLES.lines().filter(|line| line.starts_with("  ur ")) {
            let words = words(line.split("# ").next().unwrap_or_default());
            let is_shells = |word: &OsString| word == "|" || word == "<f";
            let words = words.into_iter().take_while(|word| !is_shells(word));
            assert!(Args::parse_line(words).is_ok(), "{line}");
        }
    }

    /// As a shell takes a line with single quotes apart.
    fn words(line: &str) -> Vec<OsString> {
        let parts = line
            .split('\'')
            .enumerate()
            .flat_map(|(i, part)| match i % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
        parts.map(OsString::from).collect()
    }
}
