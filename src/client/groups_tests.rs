//! Tests of groups: whose files define which.

use super::super::{NodeSets, Selector};
use super::*;
use std::io::Write;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn groups(files: &[(&str, &str)]) -> Result<Groups> {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(&dir.path().join(path), text);
    }
    Groups::read(
        dir.path().join("ur/groups"),
        &[dir.path().join("user"), dir.path().join("etc")],
    )
}

fn found(groups: &Groups, name: &str) -> Vec<String> {
    let one = |(source, name, definition): (&str, &str, &Definition)| match definition {
        Definition::Nodes(text) => format!("{source}:{name}={text}"),
        Definition::Expression(text) => format!("{source}:{name} if {text}"),
        Definition::Bad(why) => format!("{source}:{name}: {why}"),
    };
    groups.find(None, name).into_iter().map(one).collect()
}

const OWN: &str = r#"
# racks
rack1: node[1-20]
both: ['@rack1', 'db*']
big: '."MiB of Memory" >= 65536'
ready: .Setup
spare: {where: 'isvalid(.Spare)'}
seven: {nodes: [n7, n8]}
"#;

#[test]
fn own_groups_are_node_sets_lists_of_them_and_expressions() {
    let groups = groups(&[("ur/groups", OWN)]).unwrap();
    for (name, expected) in [
        ("rack1", ":rack1=node[1-20]"),
        ("both", ":both=@rack1,db*"),
        ("big", ":big if .\"MiB of Memory\" >= 65536"),
        ("ready", ":ready if .Setup"),
        ("spare", ":spare if isvalid(.Spare)"),
        ("seven", ":seven=n7,n8"),
    ] {
        assert_eq!(found(&groups, name), [expected], "{name}");
    }
    assert_eq!(found(&groups, "b*").len(), 2);
    assert_eq!(found(&groups, "rack2"), [""; 0]);
    let mut sets = NodeSets::new(&groups);
    assert!(matches!(sets.parse("@both!@seven"), Ok(Selector::Set(parts)) if parts.len() == 2));
    assert!(sets.groups("rack1,big").is_ok());
    let told = sets.groups("rack2").unwrap_err().to_string();
    assert!(
        told.contains("there are") && told.contains("rack1"),
        "{told}"
    );
}

#[test]
fn groups_of_clustershells_files_are_read_each_source_from_its_first_place() {
    let yaml = "roles:\n  adm: 'example0'\n  io: '@racks:rack2,example2'\nracks:\n  rack2: [n4, 'n[5-6]']\n";
    let groups = groups(&[
        ("ur/groups", "adm: mine\n"),
        (
            "user/groups.d/local.cfg",
            "# x\nadm: u1\nio: example4 example5\n",
        ),
        ("etc/groups.d/local.cfg", "adm: e1\nold: e2\n"),
        ("etc/groups.d/cluster.yaml", yaml),
        (
            "etc/groups.conf",
            "[Main]\ndefault: roles\nautodir: $CFGDIR/more\n",
        ),
        ("etc/more/x.yaml", "gpus:\n  a: g1\n"),
    ])
    .unwrap();
    for (name, expected) in [
        ("adm", ":adm=mine"),
        ("local:adm", "local:adm=u1"),
        ("io", "roles:io=@racks:rack2,example2"),
        ("local:io", "local:io=example4 example5"),
        ("rack2", "racks:rack2=n4,n[5-6]"),
        ("gpus:a", "gpus:a=g1"),
    ] {
        assert_eq!(found(&groups, name), [expected], "{name}");
    }
    assert_eq!(found(&groups, "local:old"), [""; 0]);
    assert!(NodeSets::new(&groups).parse("@io").is_ok());
}

#[test]
fn groups_that_double_each_other_end_and_are_refused_where_they_are_too_many() {
    let doubled = |last: usize, g0: &str| {
        let lines = (1..=last).map(|i| format!("g{i}: '@g{0},@g{0}'\n", i - 1));
        let text = format!("g0: {g0}\n{}", lines.collect::<String>());
        let groups = groups(&[("ur/groups", &text)]).unwrap();
        let read = NodeSets::new(&groups).parse(&format!("@g{last}"));
        read.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(doubled(3, ".Setup"), Ok(()));
    for (last, g0) in [(60, "n1"), (40, ".Setup")] {
        let told = doubled(last, g0).unwrap_err();
        assert!(told.contains("more than 100000 names"), "{told}");
    }
    let told = doubled(1000, "n1").unwrap_err();
    assert!(told.contains("more than 64 groups"), "{told}");
}

#[test]
fn a_group_without_a_value_is_told_to_who_uses_it_and_one_to_be_quoted_by_its_line() {
    let some = groups(&[("ur/groups", "a:\nb: n1\nc: {where: 3}\n")]).unwrap();
    let mut sets = NodeSets::new(&some);
    assert!(sets.parse("@b").is_ok());
    let told = sets.parse("@a").unwrap_err().to_string();
    assert!(told.contains("group a: expected a node set"), "{told}");
    let text = "a: n1\nold: @rack1\nb: n2\n";
    let told = format!("{:#}", groups(&[("ur/groups", text)]).unwrap_err());
    assert!(
        told.contains("line 2: ") && told.ends_with("so: '@rack1'"),
        "{told}"
    );
}

#[test]
fn a_broken_file_and_a_group_that_needs_itself_are_told() {
    let told = format!("{:#}", groups(&[("ur/groups", "a: [1\n")]).unwrap_err());
    assert!(told.contains("ur/groups"), "{told}");
    let circle = groups(&[("ur/groups", "a: '@b'\nb: '@a'\nc: '.x =='\n")]).unwrap();
    let told = |text: &str| NodeSets::new(&circle).parse(text).unwrap_err().to_string();
    assert!(told("@a").contains("defined by itself"), "{}", told("@a"));
    assert!(
        told("@c").contains("group c: bad expression"),
        "{}",
        told("@c")
    );
}
