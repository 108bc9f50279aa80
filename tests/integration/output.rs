//! Output that is long, binary, or more than the broker takes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Node, and, script, text_of};

const LIMIT: usize = 5 * 1024 * 1024;

#[test]
fn long_output_keeps_its_head_and_tail_and_says_how_long_it_was() {
    let mut node = Node::start();
    let text = "echo HEAD; head -c 6000000 /dev/zero | tr '\\0' x; echo; echo TAIL";
    let reply = node.ask(&script(text));
    let stdout = text_of(&reply["stdout"]);
    assert!(stdout.starts_with("HEAD\nxxx"));
    assert!(stdout.ends_with("xxx\nTAIL\n"));
    assert!(
        (LIMIT - 1000..=LIMIT + 1000).contains(&stdout.len()),
        "{}",
        stdout.len()
    );
    assert_eq!(reply["stdout_bytes"], 6_000_011);
}

#[test]
fn output_up_to_the_limit_is_whole() {
    let mut node = Node::start();
    let text = format!("head -c {LIMIT} /dev/zero | tr '\\0' x; seq 100000 >&2");
    let reply = node.ask(&script(&text));
    assert_eq!(text_of(&reply["stdout"]), "x".repeat(LIMIT));
    let stderr: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(text_of(&reply["stderr"]), stderr);
}

#[test]
fn max_output_is_what_is_kept() {
    let mut node = Node::start();
    let reply = node.ask(&and(script("seq 100000; seq 3 >&2"), "max_output", 1000));
    let stdout = text_of(&reply["stdout"]);
    assert!(stdout.starts_with("1\n2\n") && stdout.ends_with("100000\n"));
    assert!(stdout.len() < 1200, "{}", stdout.len());
    assert_eq!(reply["stdout_bytes"], 588_895);
    assert_eq!(reply["stderr"], "1\n2\n3\n");
}

#[test]
fn binary_output_is_readable_text_and_besides_whole_in_base64() {
    let mut node = Node::start();
    let reply = node.ask(&script(r"printf 'caf\351\000\377\n'"));
    assert_eq!(reply["stdout"], "caf\u{fffd}\0\u{fffd}\n");
    let bytes = STANDARD.decode(text_of(&reply["stdout_base64"])).unwrap();
    assert_eq!(bytes, b"caf\xe9\0\xff\n");
    assert_eq!(reply.get("stderr_base64"), None);
}

#[test]
fn a_reply_that_is_too_long_for_brokers_is_shortened_and_says_so() {
    let mut node = Node::start();
    let text = "for fd in 1 2; do (echo HEAD; head -c 6000000 /dev/zero | tr '\\0' '\\377'; echo; echo TAIL) >&$fd; done";
    let id = node.send(&script(text));
    let message = node.reply_message(&id);
    assert!(
        message.body.len() <= 15 * 1024 * 1024,
        "{}",
        message.body.len()
    );
    let reply = message.json();
    for stream in ["stdout", "stderr"] {
        let coded = text_of(&reply[format!("{stream}_base64")]);
        let bytes = STANDARD.decode(coded).unwrap();
        assert!(bytes.starts_with(b"HEAD\n\xff"));
        assert!(bytes.ends_with(b"\xff\nTAIL\n"));
        assert_eq!(reply[format!("{stream}_bytes")], 6_000_011);
    }
}
