//! A node as JSON, and many of them: as an array, or a line for each. uuid, hostname, result and error
//! are named as sdc-oneachnode names them.

use std::io::{self, BufWriter, Write};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use client::{NodeResult, Pong, Report, Target, is_visible};
use protocol::{Outcome, Progress, RequestId};
use task::TaskResult;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Array,
    Lines,
}

impl Form {
    /// What two flags ask for, if they ask for JSON.
    pub(crate) fn of(array: bool, lines: bool) -> Option<Self> {
        match (array, lines) {
            (true, _) => Some(Self::Array),
            (_, true) => Some(Self::Lines),
            _ => None,
        }
    }

    /// Writes one value after the other: none but that one is in memory as JSON.
    pub(crate) fn write(
        self,
        values: impl Iterator<Item = impl Serialize>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut out = Escaping(BufWriter::new(out));
        match self {
            Self::Array => {
                serde_json::Serializer::pretty(&mut out).collect_seq(values)?;
                out.write_all(b"\n")?;
            }
            Self::Lines => {
                for value in values {
                    serde_json::to_writer(&mut out, &value)?;
                    out.write_all(b"\n")?;
                }
            }
        }
        out.flush()
    }

    /// A value over several lines.
    pub(crate) fn write_pretty(value: &Value, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Escaping(out);
        serde_json::to_writer_pretty(&mut out, value)?;
        out.write_all(b"\n")
    }
}

/// JSON as it is, but for what a terminal would obey and JSON lets stand: in a JSON text it can only be in a string,
/// where its number means the same. Each piece that serde writes is whole characters.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let is_plain = |c: char| is_visible(c) || c == '\n';
        match str::from_utf8(piece) {
            Ok(text) if !text.chars().all(is_plain) => {
                for c in text.chars() {
                    if is_plain(c) {
                        write!(self.0, "{c}")?;
                    } else {
                        let mut units = [0; 2];
                        for unit in c.encode_utf16(&mut units) {
                            write!(self.0, "\\u{unit:04x}")?;
                        }
                    }
                }
            }
            _ => self.0.write_all(piece)?,
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

pub(super) fn of_result(result: &NodeResult, request: &RequestId) -> Value {
    let mut object = of_target(&result.target, result.outcome.state(), request);
    let error = match &result.outcome {
        Outcome::Refused(refusal) => Some(json!(refusal)),
        Outcome::Undetermined { message } => Some(error("undetermined", message)),
        Outcome::NotConnected | Outcome::NoAnswer => {
            Some(error(result.outcome.state(), &result.outcome.to_string()))
        }
        _ => None,
    };
    // Something may have run, and left output, where the end is unknown; not where it was refused.
    if let Some(reply) = &result.reply
        && !matches!(result.outcome, Outcome::Refused(_))
    {
        object["result"] = json!(reply);
        for (name, value) in &result.unknown_fields {
            object["result"][name] = value.clone();
        }
        let [stdout, stderr] = reply.left_out();
        if stdout + stderr > 0 {
            object["left_out"] = json!({"stdout": stdout, "stderr": stderr});
        }
        if let Some(value) = TaskResult::of(reply) {
            object["value"] = value.into_json();
        }
    }
    if result.outcome == Outcome::NoAnswer
        && let Some(heard) = &result.last_progress
    {
        object["heard"] = json!(heard);
    }
    if let Some(error) = error {
        object["error"] = error;
    }
    object
}

/// What a script says of how far it is. Its node has no result yet.
pub(super) fn of_progress(target: &Target, progress: &Progress, request: &RequestId) -> Value {
    let mut object = of_target(target, "running", request);
    object["progress"] = json!(progress);
    object
}

fn of_unsent(target: &Target, request: &RequestId) -> Value {
    let mut object = of_target(target, "not_sent", request);
    object["error"] = error("not_sent", "not sent: the run was stopped first");
    object
}

/// All nodes of a run.
pub(crate) fn of_report(report: &Report, request: &RequestId) -> impl Iterator<Item = Value> {
    let results = report.results.iter().map(|r| of_result(r, request));
    results.chain(unsent(report, request))
}

/// What a node made of a ping.
pub(crate) fn of_pong(target: &Target, pong: Pong) -> Value {
    let state = match pong {
        Pong::After(_) => "answered",
        Pong::NotConnected => "not_connected",
        Pong::NoAnswer => "no_answer",
    };
    let mut object = of_node(target, state);
    if let Pong::After(time) = pong {
        object["ms"] = json!((time.as_secs_f64() * 1e6).round() / 1e3);
    }
    object
}

pub(super) fn unsent(report: &Report, request: &RequestId) -> impl Iterator<Item = Value> {
    report.not_sent.iter().map(|t| of_unsent(t, request))
}

fn of_target(target: &Target, state: &str, request: &RequestId) -> Value {
    let mut object = of_node(target, state);
    object["request"] = json!(request);
    object
}

pub(super) fn of_node(target: &Target, state: &str) -> Value {
    let mut object = json!({"uuid": target.id, "hostname": target.hostname, "state": state});
    if let Some(mac) = &target.mac {
        object["mac"] = json!(mac);
    }
    object
}

fn error(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message})
}

#[cfg(test)]
mod tests {
    use super::super::fixture::result;
    use super::*;
    use protocol::{ErrorCode, Refusal, State};

    #[test]
    fn an_array_is_written_as_if_it_were_one_value() {
        let written = |form: Form, values: &[Value]| {
            let mut out = Vec::new();
            form.write(values.iter(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let values = [json!({"a": [1, {}]}), json!([])];
        let whole = serde_json::to_string_pretty(&values).unwrap();
        assert_eq!(written(Form::Array, &values), whole + "\n");
        assert_eq!(written(Form::Array, &[]), "[]\n");
        assert_eq!(written(Form::Lines, &values), "{\"a\":[1,{}]}\n[]\n");
        let odd = json!({"ü": "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{e0041}"});
        for form in [Form::Array, Form::Lines] {
            let text = written(form, std::slice::from_ref(&odd));
            assert!(text.chars().all(|c| is_visible(c) || c == '\n'), "{text:?}");
            let read: Value = serde_json::from_str(text.trim_matches(['[', ']', '\n'])).unwrap();
            assert_eq!(read, odd);
        }
    }

    #[test]
    fn a_node_has_a_result_or_an_error() {
        let request = RequestId::parse("r1").unwrap();
        let of = |outcome| of_result(&result("n1", outcome, "out", "err"), &request);

        let ran = of(Outcome::Exited { status: 7 });
        assert_eq!(ran["uuid"], "uuid-of-n1");
        assert_eq!(ran["state"], "exited");
        assert_eq!(ran["request"], "r1");
        assert_eq!(ran["result"]["exit_status"], 7);
        assert_eq!(ran["result"]["stdout"], "out");
        assert!(ran.get("error").is_none() && ran.get("mac").is_none());

        let mut long = result("n1", Outcome::Exited { status: 0 }, "out", "");
        long.reply.as_mut().unwrap().stdout_bytes = Some(10);
        let left_out = json!({"stdout": 7, "stderr": 0});
        assert_eq!(of_result(&long, &request)["left_out"], left_out);
        assert!(ran.get("left_out").is_none());

        let refused = of(Outcome::Refused(Refusal::new(ErrorCode::Busy, "full")));
        assert_eq!(refused["error"], json!({"code": "busy", "message": "full"}));
        assert!(refused.get("result").is_none());

        let lost = of(Outcome::Undetermined {
            message: "gone".into(),
        });
        assert_eq!(lost["error"]["code"], "undetermined");
        assert_eq!(lost["result"]["stdout"], "out");

        assert_eq!(of(Outcome::NoAnswer)["error"]["code"], "no_answer");

        let mut task = result("n1", Outcome::Exited { status: 0 }, r#"{"a":1}"#, "");
        task.reply.as_mut().unwrap().name = Some("my::task".to_owned());
        assert_eq!(of_result(&task, &request)["value"], json!({"a": 1}));
        assert!(ran.get("value").is_none());
        let mut newer = result("n1", Outcome::Exited { status: 0 }, "", "");
        newer
            .unknown_fields
            .insert("cgroup".to_owned(), json!({"oom_kills": 1}));
        let newer = of_result(&newer, &request);
        assert_eq!(newer["result"]["cgroup"]["oom_kills"], 1);
        let mut silent = result("n1", Outcome::NoAnswer, "", "");
        silent.last_progress = Some(Box::new(Progress::now(State::Running)));
        assert_eq!(of_result(&silent, &request)["heard"]["state"], "running");
    }
}
