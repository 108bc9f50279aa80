//! What can be typed, and what cannot.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split(' '))
}

#[test]
fn the_flags_are_consistent_and_every_help_fits_80_columns() {
    let mut ur = Args::command();
    ur.clone().debug_assert();
    ur.build();
    let mut commands = vec![&mut ur];
    while let Some(command) = commands.pop() {
        for line in command.render_help().to_string().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        commands.extend(command.get_subcommands_mut());
    }
}

#[test]
fn after_the_file_everything_is_an_argument_of_the_script() {
    let args = parse("ur script -n node1 ./setup.sh -a --timeout b").unwrap();
    let Command::Script(script) = args.command else {
        panic!("not script")
    };
    assert_eq!(script.file_and_args, ["./setup.sh", "-a", "--timeout", "b"]);
    assert_eq!(script.run.timeout, None);
}

#[test]
fn targets_stand_before_or_after_and_exactly_one_kind_is_needed() {
    assert!(parse("ur exec -a uptime").is_ok());
    assert!(parse("ur exec uptime -n a,b").is_ok());
    assert!(parse("ur exec uptime").is_err());
    assert!(parse("ur exec -a -c uptime").is_err());
    assert!(parse("ur exec -a -n x uptime").is_err());
    assert!(parse("ur exec -a up time").is_err());
    assert!(parse("ur exec -a -j -J uptime").is_err());
}

#[test]
fn attach_takes_targets_only_with_a_request() {
    for line in [
        "ur attach",
        "ur attach r1",
        "ur attach -n a r1",
        "ur attach r1 -a",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    assert!(parse("ur attach -a").is_err());
    assert!(parse("ur attach -a -n x r1").is_err());
}

#[test]
fn a_bad_value_is_a_usage_error() {
    for line in [
        "ur exec -a x --timeout 0",
        "ur exec -a x --timeout nan",
        "ur exec -a x --wait -1",
        "ur exec -a x --pickup 0",
        "ur exec -a x --env A",
        "ur exec -a x --request a.b",
        "ur exec -a x --concurrency 0",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
