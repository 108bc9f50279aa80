//! The requests of the campaign: what each script does, and what a right answer to it is. Each
//! leaves its own evidence outside Ur: a line for its start and one for its end.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::{ErrorCode, Outcome, Reply, Text};
use serde_json::json;

const LINES: u32 = 20_000;
const KEPT: usize = 1000;

/// What scripts do in their own directory, and to their supervisor, without a thought for Ur.
const CARELESS: [&str; 12] = [
    "rm -rf ./* ../* .[a-z]*",
    "cd \"$(dirname \"$0\")\"; rm -rf ./*",
    "rm -- \"$0\"",
    "echo $$ >pid; echo x >outcome.json; : >replied; : >cancel; : >request.json",
    "sleep 1 & echo $! >pid; kill $!; rm -f pid stdout stderr",
    "mkdir progress pid outcome.json outcome.room stdout replied",
    "mkfifo progress replied request.json",
    "truncate -s 3G progress; truncate -s 3G pid",
    "rm -f progress; ln -s /dev/zero progress; ln -s /dev/zero outcome.json",
    "cd /; mv \"$UR_JOB_DIR\" \"$UR_JOB_DIR.old\"",
    "chmod 0 . ..; cd /",
    "kill -STOP $PPID",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Short,
    Failing,
    Chatty,
    /// Its output is longer than what is kept of it.
    Truncated,
    /// Leaves children behind that hold its output open.
    Forking,
    Long {
        seconds: u32,
    },
    TimedOut,
    Cancelled,
    /// Ends itself by a signal.
    Signalled,
    NoInterpreter,
    /// Does the deed of this number.
    Careless {
        deed: usize,
    },
}

impl Kind {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        match rng.u32(..100) {
            0..30 => Self::Short,
            30..38 => Self::Failing,
            38..46 => Self::Chatty,
            46..50 => Self::Truncated,
            50..57 => Self::Forking,
            57..67 => Self::Careless {
                deed: rng.usize(..CARELESS.len()),
            },
            67..84 => Self::Long {
                seconds: rng.u32(1..8),
            },
            84..88 => Self::TimedOut,
            88..93 => Self::Cancelled,
            93..97 => Self::Signalled,
            _ => Self::NoInterpreter,
        }
    }

    pub(crate) fn body(self, evidence: &Path) -> Vec<u8> {
        let work = match self {
            Self::Short => "echo short".to_owned(),
            Self::Failing => "echo failing; echo why >&2; status=7".to_owned(),
            Self::Chatty | Self::Truncated => format!("seq 1 {LINES}"),
            Self::Forking => {
                "for i in 1 2 3; do sleep 3 & setsid sleep 4 & done; echo forking".to_owned()
            }
            Self::Long { seconds } => {
                format!("for i in $(seq 1 {seconds}); do echo $i; sleep 1; done")
            }
            Self::TimedOut => "echo begun; sleep 60".to_owned(),
            Self::Cancelled => "echo begun; sleep 20".to_owned(),
            Self::Careless { deed } => format!("{}\nsleep 1; echo careless", CARELESS[deed]),
            Self::Signalled => "echo begun; kill -TERM $$; sleep 1".to_owned(),
            Self::NoInterpreter => String::new(),
        };
        let interpreter = if self == Self::NoInterpreter {
            "/nonexistent/sh"
        } else {
            "/bin/sh"
        };
        let evidence = evidence.display();
        let script = format!(
            "#!{interpreter}\nstatus=0\necho start $UR_REQUEST >>{evidence}\n{work}\necho end $UR_REQUEST >>{evidence}\nexit $status\n"
        );
        let mut request = json!({"type": "script", "script": script});
        match self {
            Self::TimedOut => request["timeout"] = json!(1.5),
            Self::Truncated => request["max_output"] = json!(KEPT),
            _ => {}
        }
        request.to_string().into_bytes()
    }

    /// What it prints if nothing ends it.
    fn output(self) -> String {
        let numbers = |last: u32| (1..=last).map(|i| format!("{i}\n")).collect();
        match self {
            Self::Short => "short\n".to_owned(),
            Self::Failing => "failing\n".to_owned(),
            Self::Careless { .. } => "careless\n".to_owned(),
            Self::Chatty | Self::Truncated => numbers(LINES),
            Self::Forking => "forking\n".to_owned(),
            Self::Long { seconds } => numbers(seconds),
            Self::TimedOut | Self::Cancelled | Self::Signalled => "begun\n".to_owned(),
            Self::NoInterpreter => String::new(),
        }
    }

    fn ends_with(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Failing, Outcome::Exited { status: 7 })
            | (Self::TimedOut, Outcome::TimedOut)
            // A cancel that comes late finds the script at its own end.
            | (Self::Cancelled, Outcome::Cancelled | Outcome::Exited { status: 0 })
            | (Self::Signalled, Outcome::Signalled { signal: 15 }) => true,
            (Self::NoInterpreter, Outcome::Refused(refusal)) => refusal.code == ErrorCode::NotFound,
            (Self::Failing | Self::TimedOut | Self::Signalled | Self::NoInterpreter, _) => false,
            (_, outcome) => *outcome == Outcome::Exited { status: 0 },
        }
    }
}

/// What the scripts of one request have written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) starts: u32,
    pub(crate) ends: u32,
}

/// What the campaign has done to the processes of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Harm {
    pub(crate) supervisor: bool,
    pub(crate) script: bool,
    /// Its node's disk was full at some time.
    pub(crate) full_disk: bool,
    /// A supervisor that had not begun was killed on its node.
    pub(crate) newborn_supervisor: bool,
}

impl Harm {
    fn may_prevent_a_start(self) -> bool {
        self.full_disk || self.supervisor || self.newborn_supervisor
    }
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Undetermined,
    Refused,
    /// Refused to one copy, and run for another.
    RefusedThenRun,
    Wrong(String),
}

/// Compares an answer with the evidence.
pub(crate) fn judge(kind: Kind, reply: &Reply, evidence: Evidence, harm: Harm) -> Verdict {
    let outcome = reply.outcome();
    let wrong = |why: &str| {
        Verdict::Wrong(format!(
            "{kind:?}, {evidence:?}, {harm:?}: {why}: {outcome}"
        ))
    };
    match &outcome {
        Outcome::Undetermined { .. } if harm.supervisor => Verdict::Undetermined,
        Outcome::Undetermined { .. } => wrong("undetermined, and its supervisor was left alone"),
        Outcome::Refused(refusal)
            if kind.ends_with(&outcome) || refusal.code == ErrorCode::Storage =>
        {
            match (evidence.starts, refusal.code) {
                (1.., _) => wrong("said not to have been started"),
                (0, ErrorCode::Storage) if harm.may_prevent_a_start() => Verdict::Refused,
                (0, ErrorCode::Storage) => wrong("refused for no reason"),
                (0, _) => Verdict::Right,
            }
        }
        Outcome::Signalled { signal: 9 } if harm.script || harm.supervisor => {
            match is_cut_short(kind, reply) {
                true => Verdict::Right,
                false => wrong("not the beginning of its output"),
            }
        }
        outcome if !kind.ends_with(outcome) => wrong("not how it ends"),
        Outcome::Cancelled if evidence.starts == 0 => Verdict::Right,
        _ if evidence.starts != 1 => wrong("answered as if it had been started once"),
        Outcome::Exited { .. } if evidence.ends != 1 => {
            wrong("answered as if it had reached its end")
        }
        Outcome::Exited { .. } | Outcome::Signalled { .. } if !is_whole(kind, reply, harm) => {
            wrong("not its output")
        }
        _ => Verdict::Right,
    }
}

fn is_whole(kind: Kind, reply: &Reply, harm: Harm) -> bool {
    let output = kind.output();
    let total = reply.stdout_bytes == Some(output.len() as u64);
    // A full disk may lose output; it is counted all the same.
    let lost = harm.full_disk && reply.stdout.len() < output.len();
    let kept = match kind {
        Kind::Truncated => {
            let (head, tail) = (
                output.split_at(KEPT / 2).0,
                output.split_at(output.len() - KEPT / 2).1,
            );
            let stdout = &reply.stdout;
            stdout.starts_with(head) && stdout.ends_with(tail) && Text::is_marked(stdout)
        }
        _ => reply.stdout == output,
    };
    total && (kept || lost)
}

fn is_cut_short(kind: Kind, reply: &Reply) -> bool {
    kind == Kind::Truncated || kind.output().starts_with(&reply.stdout)
}

/// A request on its way, as its sender sees it.
pub(crate) struct Request {
    pub(crate) id: String,
    /// Index of its node.
    pub(crate) node: usize,
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
    /// How often it was handed to the broker. Some copies never got to a queue.
    pub(crate) copies: u32,
    /// The sender's connection, counted, on which it was said to be accepted.
    pub(crate) accepted: Option<u32>,
    /// Its sender asks no questions while that connection lasts: the answer has to come by itself.
    pub(crate) patient: bool,
    /// Each different body once. More than one is suspicious.
    pub(crate) replies: Vec<Vec<u8>>,
    pub(crate) replies_seen: u32,
    pub(crate) answered: Option<Instant>,
    /// How often the node's agent had been started when it was first sent, when the first answer
    /// came, and when the last one did.
    pub(crate) agents_first: u32,
    pub(crate) agents_then: u32,
    pub(crate) agents_last: u32,
    /// Its answer was said to have been taken at a time when the sender listened, and had not come.
    pub(crate) is_lost: bool,
    pub(crate) late_copies: u32,
    /// When the sender looks after it the next time.
    pub(crate) next: Instant,
}

impl Request {
    pub(crate) fn new(number: usize, node: usize, evidence: &Path, rng: &mut Rng) -> Self {
        let kind = Kind::any(rng);
        Self {
            id: format!("r{number}"),
            node,
            kind,
            body: kind.body(evidence),
            copies: 0,
            accepted: None,
            patient: rng.bool(),
            replies: Vec::new(),
            replies_seen: 0,
            answered: None,
            agents_first: 0,
            agents_then: 0,
            agents_last: 0,
            is_lost: false,
            late_copies: match rng.u32(..100) {
                0..10 => 1,
                10..13 => 10,
                _ => 0,
            },
            next: Instant::now(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.answered.is_none()
    }

    pub(crate) fn reply_came(&mut self, body: Vec<u8>, agents: u32, late_by: Duration) {
        self.replies_seen += 1;
        self.agents_last = agents;
        if self.answered.is_none() {
            self.answered = Some(Instant::now());
            self.agents_then = agents;
            self.next = Instant::now() + late_by;
        }
        if !self.replies.contains(&body) {
            self.replies.push(body);
        }
    }
}
