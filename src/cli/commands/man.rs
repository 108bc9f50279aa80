//! `ur completions`, `ur man`: made of the flags themselves.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap::builder::Resettable;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use jiff::Timestamp;

use super::command_line::LOCAL;
use super::examples;
use crate::exit::{self, Exit};

pub(crate) fn completions(mut ur: Command, shell: Shell) -> Result<Exit> {
    // `generate` panics where the reader has gone away.
    let mut script = Vec::new();
    match shell {
        Shell::Bash => script.extend(include_bytes!("../completions/ur.bash")),
        Shell::Zsh => script.extend(include_bytes!("../completions/ur.zsh")),
        Shell::Fish => script.extend(include_bytes!("../completions/ur.fish")),
        // These know commands and flags, and no values.
        other => generate(other, &mut ur, "ur", &mut script),
    }
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}

/// Commands that run something on nodes, or show what became of it.
const RUNNING: [&str; 8] = [
    "ur", "exec", "script", "file", "run", "attach", "put", "get",
];

/// Writes `ur.1`, `ur-nodes.1`… into `dir`.
pub(crate) fn manuals(mut ur: Command, dir: &Path) -> Result<Exit> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    ur.build();
    write_page(&ur, None, dir)?;
    Ok(Exit::Ok)
}

/// Of a command, and of those below it.
fn write_page(command: &Command, above: Option<&str>, dir: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or("ur").to_owned();
    let path = dir.join(format!("{name}.1"));
    let page = page(command.clone(), &name, above)?;
    File::create(&path)
        .and_then(|mut file| file.write_all(&page))
        .with_context(|| format!("writing {}", path.display()))?;
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    below
        .into_iter()
        .try_for_each(|below| write_page(below, Some(&name), dir))
}

fn page(command: Command, name: &str, above: Option<&str>) -> Result<Vec<u8>> {
    let words = name
        .strip_prefix("ur-")
        .unwrap_or(name)
        .replacen('-', " ", 1);
    let mut see: Vec<String> = above.iter().map(|above| (*above).to_owned()).collect();
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    see.extend(below.map(|below| format!("{name}-{}", below.get_name())));
    see.push("ur-agent".to_owned());
    let command = command
        .after_help(Resettable::Reset)
        // They stand in the help of the argument.
        .mut_args(|arg| arg.hide_possible_values(true));
    let mut page = Vec::new();
    Man::new(command)
        .title(name.to_uppercase())
        .date(date())
        .source(concat!("ur ", env!("CARGO_PKG_VERSION")))
        .manual("Ur")
        .render(&mut page)?;
    write!(page, "{}", exit_status(&words))?;
    let mut examples = examples::of(&words).peekable();
    if examples.peek().is_some() {
        writeln!(page, ".SH EXAMPLES")?;
    }
    for (line, what) in examples {
        writeln!(page, ".TP\n.B {}\n{}", roff(line.trim_end()), roff(what))?;
    }
    let see: Vec<String> = see
        .iter()
        .map(|page| format!(".BR {} (1)", roff(page)))
        .collect();
    writeln!(page, ".SH SEE ALSO\n{}", see.join(",\n"))?;
    Ok(page)
}

fn exit_status(words: &str) -> String {
    let command = words.split(' ').next().unwrap_or_default();
    let (is_local, runs) = (LOCAL.contains(&command), RUNNING.contains(&command));
    let rows = exit::MEANINGS.into_iter().filter(|(exit, _)| match exit {
        Exit::Ok | Exit::Error | Exit::Usage => true,
        Exit::Failed | Exit::Undetermined | Exit::MaxFail => runs,
        _ => !is_local,
    });
    let rows = rows.map(|(exit, meaning)| {
        let meaning = if exit == Exit::Ok && !runs {
            "success"
        } else {
            meaning
        };
        format!(".TP\n.B {}\n{}\n", exit as u8, roff(meaning))
    });
    format!(
        ".SH EXIT STATUS\nWhere several apply, the highest.\n{}",
        rows.collect::<String>()
    )
}

/// The day on which the pages are made, or that of the sources, where a build is to be the same each time.
fn date() -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
    let of_sources = epoch.and_then(|text| Timestamp::from_second(text.parse().ok()?).ok());
    let day = of_sources.unwrap_or_else(Timestamp::now);
    day.strftime("%Y-%m-%d").to_string()
}

/// As text that troff prints as it is, also as an argument in quotes.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let text = text.replace('\'', "\\(aq").replace('"', "\\(dq");
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_of_an_example_are_seen_in_its_manual_page() {
        assert_eq!(
            roff(r#"-w '.a == "b\n"'"#),
            r"\-w \(aq.a == \(dqb\en\(dq\(aq"
        );
        assert_eq!(roff(".x"), r"\&.x");
    }
}
