//! What the operator wants of a run that goes on: ^C, and the questions that a terminal is asked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use clap::ValueEnum;
use futures_util::{Stream, stream};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::{select, task};

use crate::exit::Exit;
use crate::stderr::ask;
use client::{BatchEnd, Between, RunEvent, Steer};

/// What ^C does to what still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInterrupt {
    Leave,
    Cancel,
}

/// What stands on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Interrupt,
    Batch,
}

/// Whether there is a person who can be asked.
pub(crate) fn has_terminal() -> bool {
    io::stderr().is_terminal() && (io::stdin().is_terminal() || File::open("/dev/tty").is_ok())
}

/// Stops the waiting at the first ^C or SIGTERM. The second ends the program wherever it is.
pub(crate) fn interrupted() -> Result<impl Stream<Item = Steer>> {
    let interrupts = Interrupts::listen(1)?;
    Ok(stream::unfold(interrupts, async |mut interrupts| {
        let next = interrupts.come.recv().await;
        next.map(|_| (Steer::Leave, interrupts))
    }))
}

/// The same, or cancels, or asks: as was typed, and as there is a terminal. It is to be sent each question that is shown.
pub(crate) fn steering(
    on_interrupt: Option<OnInterrupt>,
) -> Result<(Sender<Question>, Receiver<Steer>)> {
    let (shown, questions) = channel(8);
    let (steer, steers) = channel(1);
    let on_interrupt = match on_interrupt {
        None if !has_terminal() => Some(OnInterrupt::Leave),
        on_interrupt => on_interrupt,
    };
    // Where the first ^C does not leave, the second does, and the third ends the program.
    let more = usize::from(on_interrupt != Some(OnInterrupt::Leave));
    let interrupts = Interrupts::listen(1 + more)?;
    let steering = Steering {
        on_interrupt,
        interrupts,
        questions,
        answers: None,
        steer,
    };
    task::spawn(steering.go());
    Ok((shown, steers))
}

struct Steering {
    on_interrupt: Option<OnInterrupt>,
    interrupts: Interrupts,
    questions: Receiver<Question>,
    answers: Option<Receiver<String>>,
    steer: Sender<Steer>,
}

impl Steering {
    /// Until the run is over: then nothing takes what is wanted.
    async fn go(mut self) {
        let mut last = None;
        loop {
            let steer = select! {
                come = self.interrupts.come.recv() => match (come, self.on_interrupt) {
                    (None, _) => return,
                    // Who ends `ur` so answers no question.
                    (Some(Interrupt::Terminate), None) | (_, Some(OnInterrupt::Leave)) => {
                        Steer::Leave
                    }
                    _ if matches!(last, Some(Steer::Cancel | Steer::Ask)) => Steer::Leave,
                    (_, Some(OnInterrupt::Cancel)) => Steer::Cancel,
                    // The question comes back when it is shown.
                    (_, None) => Steer::Ask,
                },
                Some(question) = self.questions.recv() => match last {
                    // It was shown before the one that is on its way, and is asked again.
                    Some(Steer::Ask) if question != Question::Interrupt => continue,
                    _ => self.answer(question).await,
                },
            };
            last = Some(steer);
            if matches!(steer, Steer::GoOn | Steer::Wait) {
                self.interrupts.forget();
            }
            if self.steer.send(steer).await.is_err() {
                return;
            }
        }
    }

    /// What is typed; ^C leaves.
    async fn answer(&mut self, question: Question) -> Steer {
        let answers = self.answers.get_or_insert_with(lines_of_terminal);
        // What was read before the question is no answer to it; what was typed and not read is gone as it was asked.
        while answers.try_recv().is_ok() {}
        loop {
            let line = select! {
                line = answers.recv() => line,
                _ = self.interrupts.come.recv() => None,
            };
            let Some(line) = line else {
                return Steer::Leave;
            };
            match question.meaning(&line) {
                Some(steer) => return steer,
                None => ask(question.again()),
            }
        }
    }
}

impl Question {
    /// The one that is on the terminal once this is shown.
    pub(crate) fn asked_by(event: &RunEvent<'_>) -> Option<Self> {
        match event {
            RunEvent::Asking => Some(Self::Interrupt),
            RunEvent::BatchEnded(BatchEnd { between, .. }) => {
                (*between == Between::Question).then_some(Self::Batch)
            }
            _ => None,
        }
    }

    fn meaning(self, line: &str) -> Option<Steer> {
        match (self, line.trim().to_lowercase().as_str()) {
            (Self::Interrupt, "y" | "yes") => Some(Steer::Cancel),
            (Self::Interrupt, "c") => Some(Steer::Wait),
            (Self::Batch, "y" | "yes") => Some(Steer::GoOn),
            (_, "n" | "no") => Some(Steer::Leave),
            _ => None,
        }
    }

    fn again(self) -> &'static str {
        match self {
            Self::Interrupt => "y, n or c? ",
            Self::Batch => "y or n? ",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupt {
    /// ^C
    FromTerminal,
    /// SIGTERM, as timeout(1), cron and systemd send it.
    Terminate,
}

/// Each of them, until there are too many: then the program ends wherever it is.
struct Interrupts {
    come: Receiver<Interrupt>,
    count: Arc<AtomicUsize>,
}

impl Interrupts {
    fn listen(most: usize) -> Result<Self> {
        let (mut read, write) = UnixStream::pair().context("listening for ^C")?;
        let is_terminated = Arc::new(AtomicBool::new(false));
        let terminated = Arc::clone(&is_terminated);
        // In this order: who reads of the signal knows which it was.
        signal_hook::flag::register(SIGTERM, terminated).context("listening for SIGTERM")?;
        for signal in [SIGTERM, SIGINT] {
            let write = write.try_clone().context("listening for signals")?;
            signal_hook::low_level::pipe::register(signal, write).context("listening for ^C")?;
        }
        let (tell, come) = channel(8);
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let listen = move || {
            while read.read_exact(&mut [0]).is_ok() {
                if counted.fetch_add(1, Ordering::SeqCst) >= most {
                    signal_hook::low_level::exit(i32::from(Exit::Interrupted as u8));
                }
                // The loop that is to hear it may hang, which is what the count is for.
                let interrupt = match is_terminated.load(Ordering::SeqCst) {
                    true => Interrupt::Terminate,
                    false => Interrupt::FromTerminal,
                };
                tell.try_send(interrupt).ok();
            }
        };
        thread::Builder::new()
            .spawn(listen)
            .context("listening for ^C")?;
        Ok(Self { come, count })
    }

    fn forget(&self) {
        self.count.store(0, Ordering::SeqCst);
    }
}

/// What is typed, line by line, also where stdin is something else.
fn lines_of_terminal() -> Receiver<String> {
    let (tell, lines) = channel(8);
    let read = move || {
        let stdin = io::stdin();
        let terminal: Box<dyn BufRead> = match File::open("/dev/tty") {
            _ if stdin.is_terminal() => Box::new(stdin.lock()),
            Ok(terminal) => Box::new(BufReader::new(terminal)),
            Err(_) => return,
        };
        for line in terminal.lines().map_while(io::Result::ok) {
            // Where there is no room, nobody has asked for a long time.
            if let Err(TrySendError::Closed(_)) = tell.try_send(line) {
                return;
            }
        }
    };
    // Without it there is no answer, which leaves what runs.
    drop(thread::Builder::new().spawn(read));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_means_what_was_asked_and_anything_else_nothing() {
        let meanings =
            |question: Question| ["y", " N\r", "c", "", "maybe"].map(|line| question.meaning(line));
        let (cancel, leave) = (Some(Steer::Cancel), Some(Steer::Leave));
        let (wait, go_on) = (Some(Steer::Wait), Some(Steer::GoOn));
        assert_eq!(
            meanings(Question::Interrupt),
            [cancel, leave, wait, None, None]
        );
        assert_eq!(meanings(Question::Batch), [go_on, leave, None, None, None]);
    }
}
