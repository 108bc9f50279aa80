//! Keeps passwords out of `ps`: a broker URL that was given as a flag is moved to the environment,
//! which only this user and root can read, by executing the program anew. Same pid, same everything.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::ArgMatches;
use clap::parser::ValueSource;

const FLAG: &str = "--amqp-url";
const VARIABLE: &str = "UR_AMQP_URL";

/// Returns at once unless `matches` has the flag from the command line; else only if the program
/// cannot be executed again.
pub fn hide_broker_url(matches: &ArgMatches) -> io::Result<()> {
    if matches.value_source("amqp_url") != Some(ValueSource::CommandLine) {
        return Ok(());
    }
    let mut args = env::args_os();
    let name = args.next().unwrap_or_default();
    let (rest, url) = without_url(args);
    let Some(url) = url else {
        return Ok(());
    };
    Err(Command::new("/proc/self/exe")
        .arg0(name)
        .args(rest)
        .env(VARIABLE, url)
        .exec())
}

/// The arguments without the first such flag, and its value. A later one is an argument of a script.
fn without_url(mut args: impl Iterator<Item = OsString>) -> (Vec<OsString>, Option<OsString>) {
    let mut rest = Vec::new();
    while let Some(arg) = args.next() {
        let value = arg.to_str().and_then(|text| text.strip_prefix(FLAG));
        let url = match value {
            Some("") => args.next(),
            Some(value) => value.strip_prefix('=').map(OsString::from),
            None => None,
        };
        if url.is_some() {
            rest.extend(args);
            return (rest, url);
        }
        rest.push(arg);
    }
    (rest, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_flag_is_taken_out_in_both_spellings_and_nothing_else() {
        let split = |args: &[&str]| {
            let (rest, url) = without_url(args.iter().map(Into::into));
            let rest: Vec<String> = rest
                .into_iter()
                .map(|arg| arg.into_string().unwrap())
                .collect();
            (rest.join(" "), url)
        };
        let url = Some("amqp://u:p@h".into());
        let spaced = split(&["--amqp-url", "amqp://u:p@h", "exec", "-a", "x"]);
        assert_eq!(spaced, ("exec -a x".to_owned(), url.clone()));
        let one_word = split(&["script", "--amqp-url=amqp://u:p@h", "f", "--amqp-url", "z"]);
        assert_eq!(one_word, ("script f --amqp-url z".to_owned(), url));
        assert_eq!(split(&["exec", "-a", "x"]), ("exec -a x".to_owned(), None));
    }
}
