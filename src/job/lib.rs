//! A job on disk and its supervisor: everything about running a script, nothing about messages.
//!
//! A job is a directory, `<state-dir>/jobs/<id>/`, and which files it has IS its state; nothing in memory is
//! kept in step with it. No tokio and no AMQP here: this room must survive whatever happens to the agent.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `request.json` | agent | the message as received, its routing key, when |
//! | `stdin` | supervisor | what the request gave inline, until the script has it open |
//! | `pid` | supervisor | its own and the script's pid; to have made it is the right to start |
//! | `stdout`, `stderr` | supervisor | captured bytes, bounded (see [`capture`]); absent where nothing came |
//! | `cancel` | agent | a sender asked for its end |
//! | `outcome.json` | supervisor | how it ended |
//! | `outcome.room` | agent | blocks reserved before anything is started; with an outcome in it, it becomes `outcome.json` |
//! | `unroutable` | agent | the reply was published, and the broker had no queue for it |
//! | `replied` | agent | the broker has confirmed the reply |
//! | `rebooting` | agent | the reboot it asked for has been started |
//!
//! What the script may reach lies in another tree (`work_dir.rs`), and nothing there is believed.

mod atomic_file;
pub mod capture;
mod cgroup;
mod commit;
pub mod fork_server;
mod interpreter;
mod lock;
mod process;
mod process_ref;
mod record;
mod removal;
mod retention;
mod script_run;
mod signals;
mod spool;
mod start;
mod state_dir_owner;
mod stream;
mod supervise;
mod title;
mod work_dir;

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::process::{Pid, Signal};

use protocol::{Message, Outcome, RequestId, State};

pub use atomic_file::write_json;
pub use commit::{Created, NewJob};
pub use lock::Held;
pub use process_ref::{ExitWatch, ProcessRef, boot_id};
pub use record::{OutcomeRecord, Pids, Record};
pub use removal::remove_tree;
pub use retention::Expired;
pub use spool::Spool;
pub use supervise::{lacks_descriptors, supervise};

/// Bytes of a job's file that is read whole: the longest message that RabbitMQ takes, and what stands around it.
const MAX_FILE: u64 = 513 * 1024 * 1024;

/// Blocks for the outcome, which is written into it.
const ROOM: &str = "outcome.room";

/// One job: its id and its directory. Cheap to clone; everything else is read when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: RequestId,
    dir: PathBuf,
}

impl Job {
    /// The job whose directory this is, as the supervisor gets it.
    pub fn at(dir: &Path) -> Result<Self> {
        let dir = fs::canonicalize(dir)
            .with_context(|| format!("finding the job directory {}", dir.display()))?;
        let name = dir.file_name().and_then(|name| name.to_str());
        let id = RequestId::parse(name.unwrap_or_default())
            .map_err(|refusal| anyhow::anyhow!("{}: {}", dir.display(), refusal.message))?;
        Ok(Self { id, dir })
    }

    fn in_directory(jobs: &Path, id: RequestId) -> Self {
        let dir = jobs.join(id.as_str());
        Self { id, dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// What the files say.
    pub fn state(&self) -> State {
        let has = |file| self.path(file).exists();
        if has("replied") {
            State::Replied
        } else if has("outcome.json") {
            State::Ended
        } else if has("pid") {
            State::Running
        } else {
            State::Queued
        }
    }

    /// Fails, too, if another version of ur-agent has written the directory and this one cannot read it.
    pub fn record(&self) -> Result<Record> {
        let record: Record = self
            .read("request.json")?
            .with_context(|| format!("{} has no request.json", self.dir.display()))?;
        if record.format != record::FORMAT {
            anyhow::bail!(
                "{} has format {}, and this version reads {}",
                self.dir.display(),
                record.format,
                record::FORMAT
            );
        }
        Ok(record)
    }

    /// The request, which was readable when it was admitted.
    pub fn message(&self) -> Result<Message> {
        self.request().map(|(_, message)| message)
    }

    fn request(&self) -> Result<(Record, Message)> {
        let record = self.record()?;
        let message = Message::decode(record.message.get().as_bytes())
            .map_err(|refusal| anyhow::anyhow!("reading {}: {}", self.id, refusal.message))?;
        Ok((record, message))
    }

    pub fn pids(&self) -> Result<Option<Pids>> {
        self.read("pid")
    }

    /// `None` while it has not ended.
    pub fn outcome(&self) -> Result<Option<OutcomeRecord>> {
        let end: Option<OutcomeRecord> = self.read("outcome.json")?;
        match end.as_ref().map(|end| &end.outcome) {
            Some(Outcome::NotConnected | Outcome::NoAnswer) => {
                anyhow::bail!("{}: its outcome is one that only a sender can see", self.id)
            }
            _ => Ok(end),
        }
    }

    /// Of a job whose supervisor is gone: an outcome that did not get its name, or lost it in a power cut. What is not
    /// whole is none.
    pub fn unnamed_outcome(&self) -> Option<OutcomeRecord> {
        self.read(ROOM).ok().flatten()
    }

    /// Ends the job, durably. Written once: by its supervisor, or by the agent for a job whose
    /// supervisor never started or died.
    pub fn write_outcome(&self, end: &OutcomeRecord) -> Result<()> {
        let (path, room) = (self.path("outcome.json"), self.path(ROOM));
        atomic_file::write_json_reserved(&path, &room, end)
    }

    /// Takes the right to start the job, so that it is not started any more. `false` if a supervisor has taken it.
    /// What is taken is an empty file, which a full disk has a place for.
    pub fn claim_unstarted(&self) -> Result<bool> {
        atomic_file::claim_empty(&self.path("pid"))
    }

    /// Remembers that the broker has confirmed the reply. A power cut may take that back: then the same
    /// reply goes out once more.
    pub fn mark_replied(&self) -> Result<()> {
        atomic_file::note(&self.path("replied"))
    }

    /// Remembers when the broker had no queue for the reply for the first time: its retention begins.
    pub fn mark_unroutable(&self) -> Result<()> {
        match self.unroutable_since() {
            Some(_) => Ok(()),
            None => atomic_file::note(&self.path("unroutable")),
        }
    }

    fn unroutable_since(&self) -> Option<SystemTime> {
        modified(&self.path("unroutable"))
    }

    pub fn replied_at(&self) -> Option<Timestamp> {
        modified(&self.path("replied")).and_then(|time| Timestamp::try_from(time).ok())
    }

    /// Remembers that the reboot this job asked for is under way, so that it is not asked for again.
    pub fn mark_rebooting(&self) -> Result<()> {
        atomic_file::mark(&self.path("rebooting"))
    }

    pub fn is_rebooting(&self) -> bool {
        self.path("rebooting").exists()
    }

    /// Asks for the job's end: the mark first, so that it holds even if no supervisor is there yet. One that is
    /// there is told by a signal, whether or not the disk took the mark. May be asked for again.
    pub fn cancel(&self) -> Result<()> {
        let marked = match self.is_cancelled() {
            true => Ok(()),
            false => atomic_file::mark(&self.path("cancel")),
        };
        match self.pids()? {
            Some(pids) => pids.supervisor.cancel().context("telling the supervisor"),
            None => marked,
        }
    }

    /// Continues its supervisor if that is stopped, and says whether it was.
    pub fn wake(&self) -> Result<bool> {
        match self.pids()? {
            Some(pids) => pids.supervisor.wake().context("continuing the supervisor"),
            None => Ok(false),
        }
    }

    /// Kills its supervisor with all that runs under it. Whether there is an outcome then shows in its files.
    pub fn kill(&self) -> Result<()> {
        let Some(pids) = self.pids()? else {
            return Ok(());
        };
        let Some(watch) = pids.supervisor.watch()? else {
            return Ok(());
        };
        // It starts nothing new, and its children stay its own.
        watch.signal(Signal::STOP)?;
        let cgroup = cgroup::Cgroup::find(&self.id);
        if let Some(pid) = Pid::from_raw(pids.supervisor.pid) {
            process::kill_all(|| script_run::processes(pid, cgroup.as_ref()));
        }
        watch.signal(Signal::KILL).context("killing the supervisor")
    }

    fn is_cancelled(&self) -> bool {
        self.path("cancel").exists()
    }

    fn read<T: serde::de::DeserializeOwned>(&self, file: &str) -> Result<Option<T>> {
        let path = self.path(file);
        let bytes = match atomic_file::read(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("understanding {}", path.display()))
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}
