//! Tests of the expressions: what they accept, and what is neither yes nor no.

use super::*;
use serde_json::{Value, json};

fn verdict(text: &str, value: &Value) -> Result<bool, NoVerdict> {
    let filter = Filter::parse(text).unwrap();
    let verdict = filter.verdict(value.to_string().as_bytes())?;
    Ok(verdict == Some(true))
}

fn accepts(text: &str, value: &Value) -> bool {
    verdict(text, value).unwrap()
}

fn facts() -> Value {
    json!({
        "Setup": true, "MiB of Memory": 32768, "Rack": "r1", "Disks": {"sda": {}, "sdb": {}},
    })
}

#[test]
fn an_output_that_is_true_accepts() {
    for yes in [
        ".Setup",
        ".Setup == true",
        ".Disks | length > 1",
        r#"."MiB of Memory" >= 32768"#,
        r#".Disks | keys[] | test("^sdb$")"#,
        r#".Rack | IN("r1", "r2")"#,
        r#".Rack == "r1" and .Setup"#,
        r#"[{"k": 1}] | INDEX(.k) | has("1")"#,
        "$ENV | type == \"object\"",
        ".Missing == null",
        ".Rack != null",
    ] {
        assert!(accepts(yes, &facts()), "{yes}");
    }
    for no in [
        ".Missing",
        "empty",
        ".Setup == false",
        ".Missing > 5",
        ".Missing < 5",
        "null",
    ] {
        assert!(!accepts(no, &facts()), "{no}");
    }
}

#[test]
fn what_is_neither_true_nor_false_is_no_verdict() {
    for (text, kind) in [
        (r#".Rack = "r2""#, "an object"),
        (".Rack", "a text"),
        (r#""r2""#, "a text"),
        (r#"."MiB of Memory""#, "a number"),
        ("[.Rack]", "an array"),
        (".Setup, .Rack", "a text"),
    ] {
        let Err(NoVerdict::Value(_, found)) = verdict(text, &facts()) else {
            panic!("{text}")
        };
        assert_eq!(found, kind, "{text}");
    }
    let told = verdict(r#".Rack = "r2""#, &facts())
        .unwrap_err()
        .about("node1");
    assert!(
        told.contains("an object for node1") && told.contains("(== compares"),
        "{told}"
    );
}

#[test]
fn a_comparison_of_a_text_with_a_number_is_an_error() {
    for text in [
        ".Rack > 5",
        r#"."MiB of Memory" > "999""#,
        r#".Setup == "true""#,
        r#".Setup != "true""#,
        r#"."MiB of Memory" == "32768""#,
        "[.Rack] | any(. < 3)",
        "if .Rack >= 1 then true else false end",
        "def f: .Rack <= 1; f",
    ] {
        let Err(NoVerdict::Failed(error)) = verdict(text, &facts()) else {
            panic!("{text}")
        };
        assert!(error.contains("compare"), "{text}: {error}");
    }
}

#[test]
fn a_bad_expression_is_shown_with_the_place_where_it_goes_wrong_and_the_dialect() {
    let shown = |text| Filter::parse(text).unwrap_err().to_string();
    assert_eq!(
        shown(".Setup == "),
        "bad expression: expected term (this is jq as jaq 3 has it)\n  .Setup == \n            ^"
    );
    assert_eq!(
        shown(".Setup | nosuch"),
        "bad expression: nosuch is an undefined filter (this is jq as jaq 3 has it)\n  .Setup | nosuch\n           ^"
    );
    assert!(shown(".[\"x]").contains('^'));
    for text in [".MiB of Memory > 3", ".Disks[].Size in GB > 3"] {
        assert!(shown(text).contains("in quotes: .\""), "{}", shown(text));
    }
    assert!(shown(".MiB of Memory > 3").ends_with(".\"MiB of Memory\""));
    assert!(shown("").contains("expected"));
    assert!(shown("halt").contains("undefined"));
}

#[test]
fn what_is_written_as_elsewhere_is_told_with_what_jq_has() {
    for (text, hint) in [
        ("node[1-3]", "nodes by name are -n 'node[1-3]'"),
        ("node1,node2", "-n 'node1,node2'"),
        (".Setup && .Rack", "jq says and, or"),
        (".Setup || .Rack", "jq says and, or"),
        ("!.Setup", "| not"),
        (".Rack == 'r1'", "double quotes: \"r1\""),
    ] {
        let told = Filter::parse(text).unwrap_err().to_string();
        assert!(told.contains(hint), "{told}");
    }
    let told = Filter::parse("nosuch").unwrap_err().to_string();
    assert!(told.ends_with('^'), "{told}");
}

#[test]
fn an_expression_that_fails_on_a_value_says_so() {
    assert!(matches!(
        verdict(".Rack.x", &facts()),
        Err(NoVerdict::Failed(_))
    ));
    assert!(accepts(".Rack.x? // true", &facts()));
}

#[test]
fn the_keys_that_an_expression_reads_are_known() {
    let keys = |text| Vec::from_iter(Filter::parse(text).unwrap().keys);
    assert_eq!(
        keys(r#".Rak == "r1" and .Disks.sda."Size in GB" > 5"#),
        ["Disks", "Rak", "Size in GB", "sda"]
    );
    assert_eq!(keys(r#".Rack?, .["x"], ({a: 1} | .a)"#), ["x"]);
}
