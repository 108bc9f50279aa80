//! Tests of parameters: what is given, what it becomes, and what is refused.

use super::*;
use crate::tests::task;
use serde_json::json;

fn erase() -> Task {
    task(&json!({
        "supports_noop": true,
        "parameters": {
            "level": {"type": "Enum[clear, purge]", "default": "clear"},
            "serials": {"type": "Array[String[1], 1]"},
            "passes": {"type": "Optional[Integer[1]]"},
            "label": {"type": "Optional[String]"},
            "key": {"type": "Optional[Integer]", "sensitive": true},
        },
        "extensions": {"ur": {"confirm": "serials"}},
    }))
}

fn given(words: &[(&str, &str)], json: Value) -> Given {
    let words = words
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let Value::Object(json) = json else {
        panic!("an object")
    };
    Given {
        words: words.collect(),
        json,
        noop: false,
    }
}

fn bad(task: &Task, words: &[(&str, &str)], json: Value) -> String {
    task.prepare(&given(words, json)).unwrap_err().0
}

#[test]
fn parameters_arrive_as_one_object_and_as_variables_with_their_defaults() {
    let mut given = given(
        &[("serials", r#"["S1"]"#), ("label", "7"), ("passes", "7")],
        json!({}),
    );
    given.noop = true;
    let input = erase().prepare(&given).unwrap();
    let stdin: Value = serde_json::from_str(input.stdin.as_deref().unwrap()).unwrap();
    let expected = json!({
        "_task": "test::task", "_noop": true, "level": "clear", "serials": ["S1"], "label": "7", "passes": 7,
    });
    assert_eq!(stdin, expected);
    assert_eq!(input.env["PT_serials"], r#"["S1"]"#);
    assert_eq!(input.env["PT_label"], "7");
    assert_eq!(input.env["PT__noop"], "true");
    assert_eq!(input.env["PT__task"], "test::task");
    assert!(input.env["PATH"].contains("/sbin") && !input.env.contains_key("PT_key"));
    assert!(!input.needs_stdin);
}

#[test]
fn what_is_wrong_is_told_by_name_and_type() {
    let task = erase();
    let serials = ("serials", "[\"S1\"]");
    let unknown = bad(&task, &[serials, ("levle", "x")], json!({}));
    assert!(
        unknown.contains("`levle`") && unknown.ends_with("serials: did you mean level?"),
        "{unknown}"
    );
    let typed = bad(&task, &[serials, ("level", "x")], json!({}));
    assert!(
        typed.contains("`level`") && typed.contains("Enum[clear, purge]"),
        "{typed}"
    );
    let one = bad(&task, &[("serials", "S1,S2")], json!({}));
    assert!(one.ends_with(r#"such as serials='["S1","S2"]'"#), "{one}");
    let missing = bad(&task, &[], json!({}));
    assert!(missing.contains("`serials`") && missing.contains("Array[String[1], 1]"));
    assert!(bad(&task, &[], json!({"serials": null})).contains("`serials`"));
    assert!(bad(&task, &[serials], json!({"serials": ["S2"]})).contains("twice"));
    assert!(bad(&task, &[serials, serials], json!({})).contains("twice"));
}

#[test]
fn a_number_that_would_be_written_otherwise_stays_as_it_was_typed() {
    let of = |task: &Task, text: &str| {
        let input = task.prepare(&given(&[("a", text)], json!({}))).unwrap();
        let stdin: Value = serde_json::from_str(&input.stdin.unwrap()).unwrap();
        assert_eq!(input.env["PT_a"], text);
        stdin["a"].clone()
    };
    let untyped = task(&json!({}));
    let any = task(&json!({"parameters": {"a": {"type": "Variant[String, Numeric, Array]"}}}));
    for task in [&untyped, &any] {
        for text in [
            "1.10",
            "12345678901234567890123",
            "1e3",
            "007",
            "-0",
            "[1.10]",
        ] {
            assert_eq!(of(task, text), json!(text));
        }
        assert_eq!(of(task, "7"), json!(7));
        assert_eq!(of(task, "-1.5"), json!(-1.5));
        assert_eq!(
            of(task, r#"["1.10",7,"\"1.10"]"#),
            json!(["1.10", 7, "\"1.10"])
        );
    }
    let float = task(&json!({"parameters": {"a": {"type": "Float"}}}));
    let input = float.prepare(&given(&[("a", "1.10")], json!({}))).unwrap();
    assert_eq!(input.env["PT_a"], "1.1");
}

#[test]
fn a_secret_is_neither_in_an_error_nor_in_what_is_shown() {
    let task = erase();
    let error = bad(
        &task,
        &[("serials", "[\"S1\"]"), ("key", "hush")],
        json!({}),
    );
    assert!(
        error.contains("[sensitive]") && !error.contains("hush"),
        "{error}"
    );
    let input = task
        .prepare(&given(&[], json!({"serials": ["S1"], "key": 123_456})))
        .unwrap();
    assert_eq!(input.shown, r#"key=[sensitive] level=clear serials=["S1"]"#);
    assert_eq!(input.env["PT_key"], "123456");
}

#[test]
fn a_value_too_long_for_the_environment_is_on_stdin_alone() {
    let long = "x".repeat(MAX_ENV_VALUE + 1);
    let parameters = json!({"text": {"type": "String"}});
    let both = task(&json!({"parameters": parameters}));
    let input = both.prepare(&given(&[("text", &long)], json!({}))).unwrap();
    assert!(!input.env.contains_key("PT_text") && input.stdin.unwrap().contains(&long));
    assert!(input.needs_stdin);
    let env = task(&json!({"input_method": "environment", "parameters": parameters}));
    assert!(bad(&env, &[("text", &long)], json!({})).contains("`text`"));
    assert!(bad(&env, &[("text", "a\0b")], json!({})).contains("NUL"));
}

#[test]
fn the_input_method_is_respected() {
    let of = |method: &str| {
        let task = task(&json!({"input_method": method}));
        task.prepare(&given(&[("a", "[1]"), ("b", "x")], json!({})))
            .unwrap()
    };
    let stdin = of("stdin");
    assert!(stdin.needs_stdin && !stdin.env.contains_key("PT_a"));
    assert_eq!(
        stdin.stdin.unwrap(),
        "{\"_task\":\"test::task\",\"a\":[1],\"b\":\"x\"}\n"
    );
    let env = of("environment");
    assert_eq!((env.stdin, env.env["PT_a"].as_str()), (None, "[1]"));
}

#[test]
fn noop_takes_a_task_that_knows_it() {
    let mut given = given(&[], json!({}));
    given.noop = true;
    let error = task(&json!({})).prepare(&given).unwrap_err().0;
    assert!(error.contains("does not support --noop"));
    let inspect = task(&json!({"extensions": {"ur": {"class": "inspect"}}}));
    let input = inspect.prepare(&given).unwrap();
    assert!(!input.env.contains_key("PT__noop"));
}

#[test]
fn what_is_destroyed_must_have_been_named() {
    let task = task(&json!({
        "parameters": {"serials": {"type": "Optional[Array[String]]", "default": ["S0"]}},
        "extensions": {"ur": {"confirm": "serials"}},
    }));
    let unconfirmed = |json| task.prepare(&given(&[], json)).unwrap().unconfirmed;
    assert_eq!(unconfirmed(json!({})).as_deref(), Some("serials"));
    assert_eq!(
        unconfirmed(json!({"serials": null})).as_deref(),
        Some("serials")
    );
    assert_eq!(unconfirmed(json!({"serials": ["S1"]})), None);
}
