//! The fork server, asked by a test in the place of the agent.

use std::fs;
use std::path::Path;
use std::process::Command;

use job::fork_server::{FLAG, ForkServer, ROOM};
use job::{Created, ExitWatch, Job, Spool};
use protocol::{NodeId, Outcome, Request, RequestId};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Node, script, wait_until};

fn server(spool: &Spool) -> ForkServer {
    let mut command = Command::new(ur_tests::program("ur-agent"));
    command
        .args(["supervise", FLAG])
        .arg(spool.jobs_dir())
        .arg(ROOM);
    ForkServer::start(command).expect("a fork server")
}

fn job(spool: &Spool, id: &str, script: &str) -> Job {
    let request = Request::script(script);
    let id = RequestId::parse(id).expect("an id");
    let node = NodeId::parse("n1").expect("a word");
    match spool.create(&id, (&node, "key"), &request.encode()) {
        Ok(Created::New(job)) => job,
        other => panic!("no new job: {other:?}"),
    }
}

fn fork(server: &ForkServer, job: &Job) -> ExitWatch {
    let forked = server.fork(&job.id).expect("a server that answers");
    forked.expect("a supervisor")
}

fn ended(watch: &ExitWatch) {
    wait_until("the supervisor ends", || watch.has_ended());
}

fn exited(job: &Job) -> i32 {
    let record = job.outcome().expect("an outcome that can be read");
    match record.expect("an outcome").outcome {
        Outcome::Exited { status } => status,
        other => panic!("{other}"),
    }
}

fn stdout(job: &Job) -> String {
    fs::read_to_string(job.path("stdout")).expect("output")
}

/// Of a process: its arguments as `ps` shows them.
fn arguments(pid: u32) -> String {
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.trim_end_matches('\0').replace('\0', " ")
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = text
        .split_whitespace()
        .map(|pid| pid.parse().expect("a pid"));
    pids.collect()
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("killing it");
}

#[test]
fn server_and_supervisor_say_in_ps_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let server = server(&spool);
    let job = job(
        &spool,
        "r1",
        "tr '\\0' ' ' </proc/$PPID/cmdline; cat /proc/$PPID/comm; exit 3",
    );
    ended(&fork(&server, &job));
    assert_eq!(exited(&job), 3);
    let said = stdout(&job);
    let expected = format!("ur-agent supervise {}", job.dir().display());
    assert!(
        said.starts_with(&expected) && said.ends_with("ur-supervisor\n"),
        "{said:?}"
    );
    let jobs = spool.jobs_dir().display();
    assert_eq!(
        arguments(server.pid()),
        format!("ur-agent supervise {FLAG} {jobs}")
    );
}

#[test]
fn supervisors_and_scripts_have_no_descriptor_of_the_server_or_of_another_job() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let server = server(&spool);
    let long = job(&spool, "long", "echo on; exec sleep 60");
    let running = fork(&server, &long);
    wait_until("it runs", || long.path("stdout").exists());
    let look = job(
        &spool,
        "look",
        "echo; until test -e ../../../jobs/look/stdout; do sleep 0.02; done; ls -l /proc/$PPID/fd /proc/$$/fd",
    );
    ended(&fork(&server, &look));
    let said = stdout(&look);
    assert!(said.contains("/jobs/look/"), "its own are there: {said}");
    assert!(
        !said.contains("socket:") && !said.contains("/long/"),
        "{said}"
    );
    long.cancel().unwrap();
    ended(&running);
}

#[test]
fn many_jobs_at_once_are_each_started_once_and_leave_no_zombie() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (server, mark) = (server(&spool), dir.path().join("mark"));
    let text = format!("echo $UR_REQUEST >>{}", mark.display());
    let jobs: Vec<Job> = (0..60)
        .map(|n| job(&spool, &format!("r{n}"), &text))
        .collect();
    // The second supervisor of a job finds that it has begun.
    let watches: Vec<ExitWatch> = jobs
        .iter()
        .chain(&jobs)
        .map(|job| fork(&server, job))
        .collect();
    watches.iter().for_each(ended);
    let mut started: Vec<String> = fs::read_to_string(mark)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    started.sort();
    started.dedup();
    assert_eq!(started.len(), jobs.len());
    assert!(jobs.iter().all(|job| exited(job) == 0));
    wait_until("every child is reaped", || {
        children(server.pid()).is_empty()
    });
}

#[test]
fn a_job_outlives_its_server_and_another_server_does_not_start_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (first, mark, gate) = (
        server(&spool),
        dir.path().join("mark"),
        dir.path().join("gate"),
    );
    let text = format!(
        "echo x >>{}; while ! test -e {}; do sleep 0.02; done",
        mark.display(),
        gate.display()
    );
    let job = job(&spool, "r1", &text);
    let running = fork(&first, &job);
    wait_until("it runs", || mark.exists());
    kill(first.pid());
    wait_until("the server refuses", || first.fork(&job.id).is_err());
    let second = server(&spool);
    ended(&fork(&second, &job));
    assert!(!running.has_ended());
    fs::create_dir(gate).unwrap();
    ended(&running);
    assert_eq!(
        (exited(&job), fs::read_to_string(mark).unwrap().as_str()),
        (0, "x\n")
    );
}

#[test]
fn a_supervisor_that_is_killed_takes_neither_server_nor_another_job_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let server = server(&spool);
    let victim = job(&spool, "victim", "kill -9 $PPID");
    ended(&fork(&server, &victim));
    assert!(victim.outcome().unwrap().is_none());
    let other = job(&spool, "other", "exit 7");
    ended(&fork(&server, &other));
    assert_eq!(exited(&other), 7);
}

#[test]
fn a_fork_server_ends_with_its_agent_and_the_job_goes_on() {
    let mut node = Node::start();
    let gate = node.agent.dir().join("gate");
    let text = format!(
        "while ! test -e {}; do sleep 0.02; done; echo done",
        gate.display()
    );
    let id = node.send(&script(&text));
    wait_until("it runs", || node.job(&id).join("pid").exists());
    let server = children(node.agent.pid())
        .into_iter()
        .find(|pid| arguments(*pid).contains(FLAG));
    let server = format!("/proc/{}", server.expect("a fork server"));
    node.agent.kill();
    wait_until("the server ends", || !Path::new(&server).exists());
    fs::create_dir(gate).unwrap();
    node.agent.start_again();
    assert_eq!(node.reply(&id)["stdout"], "done\n");
}

#[test]
fn what_a_server_says_too_late_is_not_taken_for_the_answer_to_the_next_question() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let server = server(&spool);
    let [late, next] = ["late", "next"].map(|id| job(&spool, id, "true"));
    let pid = Pid::from_raw(server.pid().cast_signed()).expect("a pid");
    kill_process(pid, Signal::STOP).expect("stopping it");
    assert!(server.fork(&late.id).is_err());
    kill_process(pid, Signal::CONT).expect("continuing it");
    wait_until("the late job ends", || late.outcome().unwrap().is_some());
    assert!(server.fork(&next.id).is_err());
}
