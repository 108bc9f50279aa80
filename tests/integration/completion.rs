//! Completion of `ur` as shells have it: keys are typed on a terminal, and the line that comes of them is run.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Node;
use crate::support::operator::Ur;

/// A task's name with a part that bash takes for a word of its own, a parameter and its value.
const KEYS: &str = "ur task show disk::er\t >shown\n\
    ur run -n x disk::erase confirm_serials=S1 lev\tpu\t --noop 2>error\n\
    ur targets -n x,@ra\t >groups\x01echo \n\
    exit\n";

/// Types the keys into a shell that has read `startup` from the file `name`.
fn types_into(shell: &str, name: &str, startup: &str) {
    if !Path::new("/usr/bin")
        .join(shell.split(' ').next().unwrap_or(shell))
        .exists()
    {
        eprintln!("{shell} is not installed here");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        std::io::Write::write_all(
            &mut File::create(dir.path().join(name)).expect("a file"),
            text.as_bytes(),
        )
    };
    write(name, startup).expect("a startup file");
    write("keys", KEYS).expect("a file of keys");
    fs::create_dir_all(dir.path().join(".config/ur")).expect("a folder");
    write(".config/ur/groups", "rack1: node1\n").expect("a file of groups");
    let programs = ur_tests::program("ur");
    let programs = Path::new(&programs).parent().expect("a folder").display();
    let status = Command::new("timeout")
        .args(["60", "script", "--quiet", "--command", shell, "terminal"])
        .current_dir(dir.path())
        .env("PATH", format!("{programs}:/usr/bin:/bin"))
        .env("HOME", dir.path())
        .env("ZDOTDIR", dir.path())
        .env_remove("XDG_CONFIG_HOME")
        .env("TERM", "dumb")
        .stdin(File::open(dir.path().join("keys")).expect("the keys"))
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("a terminal, by script").success(), "{shell}");
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let terminal = read("terminal");
    assert!(read("shown").starts_with("# disk::erase\n"), "{terminal}");
    // It was reached with all parameters known.
    assert!(read("error").contains("`confirm_serials`"), "{terminal}");
    assert_eq!(read("groups"), "ur targets -n x,@rack1\n", "{terminal}");
    assert!(
        terminal.contains("level=purge") || terminal.contains("el=purge"),
        "{terminal}"
    );
}

#[test]
fn bash_completes_tasks_parameters_and_values() {
    types_into(
        "bash --rcfile rc -i",
        "rc",
        "source <(ur completions bash)\n",
    );
}

#[test]
fn zsh_completes_tasks_parameters_and_values() {
    let startup = "autoload -Uz compinit && compinit -D -u\nsource <(ur completions zsh)\n";
    types_into("zsh -i", ".zshrc", startup);
}

#[test]
fn nodes_that_answered_and_runs_of_before_are_completed() {
    let node = Node::start();
    let ur = |args: &[&str]| {
        Ur::start(&node.vhost.url, node.agent.dir(), args)
            .end()
            .exits(0)
    };
    ur(&["exec", "-a", "--request", "deploy-7", "true"]);
    let complete = |index: &str, words: &[&str]| ur(&[&["complete", index, "--"], words].concat());
    assert!(complete("3", &["ur", "exec", "-n", "te"]).starts_with("testnode\t"));
    assert!(complete("3", &["ur", "exec", "-n", "x,te"]).starts_with("x,testnode\t"));
    assert!(complete("2", &["ur", "attach", "dep"]).starts_with("deploy-7\t"));
    assert!(complete("2", &["ur", "cancel", "la"]).starts_with("last\t"));
    assert!(complete("3", &["ur", "nodes", "-o", "U"]).starts_with("UUID\t"));
    assert_eq!(complete("2", &["ur", "show", "@"]), "");
}
