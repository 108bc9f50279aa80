//! The start of a job's script: from a request to a process, or to a refusal that says why not.

use std::fs::{self, File};
use std::io::{self, PipeWriter};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use protocol::{ErrorCode, Program, Refusal, Request, without_byte_order_mark};

use super::capture::Writer;
use super::cgroup::Cgroup;
use super::interpreter::{self, Invocation};
use super::stream::CapturedStream;
use super::work_dir::PROGRESS;
use super::{Job, Record, atomic_file, process};

pub(super) struct Started {
    pub(super) script: u32,
    pub(super) stdout: CapturedStream,
    pub(super) stderr: CapturedStream,
}

/// Starts the job's script. Refuses with 127 or 126's codes as a shell would, with `busy` where
/// there is no process to be had, with `storage` where its files have no place.
pub(super) fn start(
    job: &Job,
    record: &Record,
    request: &Request,
    cgroup: Option<&Cgroup>,
) -> Result<Started, Refusal> {
    job.make_work_dir().map_err(|error| storage(&error))?;
    let invocation = invocation(job, request)?;
    let mut command = command(job, record, request, &invocation)?;
    let writer = |name| Writer::new(&job.path(name), request.max_output);
    let not = |error: io::Error| why_not(&error, &invocation);
    let (stdout, to_stdout) = piped(writer("stdout")).map_err(not)?;
    let (stderr, to_stderr) = piped(writer("stderr")).map_err(not)?;
    command.stdout(to_stdout).stderr(to_stderr);
    let cgroup = cgroup.and_then(Cgroup::open);
    Ok(Started {
        script: process::spawn_leader(command, cgroup.as_ref()).map_err(not)?,
        stdout,
        stderr,
    })
}

fn piped(writer: Writer) -> io::Result<(CapturedStream, PipeWriter)> {
    let (read, write) = io::pipe()?;
    // A descendant may hold the other end for ever; reading must not wait for it.
    rustix::io::ioctl_fionbio(&read, true)?;
    let pipe = Some(read);
    Ok((CapturedStream { pipe, writer }, write))
}

fn invocation(job: &Job, request: &Request) -> Result<Invocation, Refusal> {
    match &request.program {
        Program::Script(text) => {
            let path = job.work_tree().join("script");
            let text = without_byte_order_mark(text.as_bytes());
            atomic_file::create(&path, text, 0o700).map_err(|error| storage(&error))?;
            Ok(interpreter::script(&path, text))
        }
        Program::File(name) => {
            let own = std::env::var("PATH").ok();
            let path = match &request.env {
                Some(env) => env.get("PATH").map(String::as_str),
                None => own.as_deref(),
            };
            interpreter::file(name, path)
        }
    }
}

fn command(
    job: &Job,
    record: &Record,
    request: &Request,
    invocation: &Invocation,
) -> Result<Command, Refusal> {
    let mut command = Command::new(&invocation.program);
    command.args(&invocation.args).args(&request.args);
    if let Some(env) = &request.env {
        command.env_clear().envs(env);
    }
    let work = job.work_dir();
    command
        .env("UR_NODE", record.node.as_str())
        .env("UR_REQUEST", job.id.as_str())
        .env("UR_JOB_DIR", &work)
        .env("UR_PROGRESS", work.join(PROGRESS));
    let cwd = request.cwd.as_ref().map_or(work.as_path(), Path::new);
    if request.cwd.is_some() && !cwd.is_dir() {
        let message = format!("the working directory {cwd:?} does not exist on the node");
        return Err(Refusal::new(ErrorCode::NotFound, message));
    }
    let stdin = match &request.stdin {
        Some(text) => Stdio::from(input(job, text).map_err(|error| storage(&error))?),
        None => Stdio::null(),
    };
    command.current_dir(cwd).stdin(stdin);
    Ok(command)
}

/// The text as a file, which may be longer than a pipe. It has no name: it is not kept with the job, whose request
/// has it too.
fn input(job: &Job, text: &str) -> Result<File> {
    let path = job.path("stdin");
    atomic_file::create(&path, text.as_bytes(), 0o600)?;
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    Ok(file)
}

fn storage(error: &anyhow::Error) -> Refusal {
    Refusal::new(ErrorCode::Storage, format!("{error:#}"))
}

/// What the kernel's refusal means to the sender.
fn why_not(error: &io::Error, invocation: &Invocation) -> Refusal {
    let program = invocation.program.display();
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::new(ErrorCode::NotFound, &invocation.missing),
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => {
            let message = format!("the node has no process to spare: {error}");
            Refusal::new(ErrorCode::Busy, message)
        }
        io::ErrorKind::ArgumentListTooLong => Refusal::new(
            ErrorCode::CannotExecute,
            "arguments and environment are longer than the node's kernel takes; use stdin",
        ),
        _ => Refusal::new(
            ErrorCode::CannotExecute,
            format!("{program} cannot be executed: {error}"),
        ),
    }
}
