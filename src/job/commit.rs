//! A request becomes a job: built beside, flushed, renamed into place. The rename is the commit and the de-duplication.
//!
//! Several that are committed together share their flushes: what all have written is on its way to the disk before the
//! first is waited for, so that a journal takes them in one transaction, and the directory of jobs is flushed once.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow};
use jiff::Timestamp;

use protocol::{ErrorCode, NodeId, Refusal, RequestId};

use super::record::{FORMAT, NewRecord};
use super::{Job, ROOM, Spool, atomic_file};

/// Kept free for `outcome.json`: it has some 300, and a message.
const OUTCOME_BYTES: usize = 4096;

/// What a commit found under a request's id.
#[derive(Debug)]
pub enum Created {
    /// No job was there; this one is on disk now.
    New(Job),
    /// Its id was used before; nothing was changed.
    Existing(Job),
}

/// What becomes a job when it is committed, and is removed when the spool is opened the next time if it is not.
#[derive(Debug)]
pub struct NewJob {
    job: Job,
    built: PathBuf,
    request: File,
}

impl NewJob {
    pub fn id(&self) -> &RequestId {
        &self.job.id
    }

    fn flush(&self) -> Result<()> {
        let request = self.request.sync_all();
        request.with_context(|| format!("flushing {}/request.json", self.built.display()))?;
        atomic_file::sync_dir(&self.built)
    }
}

impl Spool {
    /// Writes what is to be committed; an id is not built twice before that. Refuses with code `storage` if the disk does
    /// not take it; nothing is left behind then.
    pub fn build(
        &self,
        id: &RequestId,
        origin: (&NodeId, &str),
        body: &[u8],
    ) -> Result<NewJob, Refusal> {
        let built = self.building.join(id.as_str());
        match write(&built, origin, body) {
            Ok(request) => Ok(NewJob {
                job: self.job(id.clone()),
                built,
                request,
            }),
            Err(error) => Err(not_taken(&built, &error)),
        }
    }

    /// Makes them jobs, each in its turn or not at all: refused with code `storage`, with nothing left behind.
    pub fn commit(&self, new: Vec<NewJob>) -> Vec<Result<Created, Refusal>> {
        for flags in [libc::SYNC_FILE_RANGE_WRITE, WRITE_AND_WAIT] {
            for new in &new {
                // SAFETY: no memory is passed. What fails here fails in the flush.
                unsafe { libc::sync_file_range(new.request.as_raw_fd(), 0, 0, flags) };
            }
        }
        let mut placed: Vec<_> = new
            .iter()
            .map(|new| new.flush().and_then(|()| place(new)))
            .collect();
        if placed
            .iter()
            .any(|placed| matches!(placed, Ok(Created::New(_))))
            && let Err(error) = atomic_file::sync_dir(&self.jobs)
        {
            for (new, placed) in new.iter().zip(&mut placed) {
                if let Ok(Created::New(_)) = placed {
                    *placed = Err(take_back(new, &error));
                }
            }
        }
        let refused = |(new, placed): (NewJob, Result<Created>)| {
            placed.map_err(|error| not_taken(&new.built, &error))
        };
        new.into_iter().zip(placed).map(refused).collect()
    }
}

const WRITE_AND_WAIT: libc::c_uint = libc::SYNC_FILE_RANGE_WAIT_BEFORE
    | libc::SYNC_FILE_RANGE_WRITE
    | libc::SYNC_FILE_RANGE_WAIT_AFTER;

fn write(new: &Path, (node, routing_key): (&NodeId, &str), body: &[u8]) -> Result<File> {
    DirBuilder::new()
        .mode(0o700)
        .create(new)
        .with_context(|| format!("making {}", new.display()))?;
    let record = NewRecord {
        format: FORMAT,
        node,
        routing_key,
        received_at: Timestamp::now(),
        message: serde_json::from_slice(body)?,
    };
    let record = serde_json::to_vec(&record)?;
    // Its blocks are taken by now, or reserved: that it is empty after a power cut is no harm.
    atomic_file::create(&new.join(ROOM), &[0; OUTCOME_BYTES], 0o600)?;
    atomic_file::create(&new.join("request.json"), &record, 0o600)
}

fn place(new: &NewJob) -> Result<Created> {
    match fs::rename(&new.built, &new.job.dir) {
        Ok(()) => Ok(Created::New(new.job.clone())),
        Err(error) if is_taken(&error) => {
            fs::remove_dir_all(&new.built).ok();
            Ok(Created::Existing(new.job.clone()))
        }
        Err(error) => {
            Err(error).with_context(|| format!("renaming {} into place", new.built.display()))
        }
    }
}

/// It is about to be refused, and must not be started by the next agent.
fn take_back(new: &NewJob, why: &Error) -> Error {
    match fs::rename(&new.job.dir, &new.built) {
        Ok(()) => anyhow!("{why:#}"),
        Err(error) => anyhow!("{why:#}; taking the job back: {error}"),
    }
}

/// The first error is the one that matters; what cannot be removed now is removed when the spool is opened the next time.
fn not_taken(built: &Path, error: &Error) -> Refusal {
    fs::remove_dir_all(built).ok();
    Refusal::new(
        ErrorCode::Storage,
        format!("the node's state directory did not take the job: {error:#}"),
    )
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty
    )
}
