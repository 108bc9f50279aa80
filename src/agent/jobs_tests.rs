//! What an agent makes of the jobs that it finds.

use protocol::{Request, RequestId};

use super::*;
use job::Created;

/// As after a power cut: `pid` is there and empty, and a rename was taken back.
#[tokio::test]
async fn an_outcome_that_lost_its_name_counts_and_half_of_one_is_undetermined() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let node = NodeId::parse("n1").unwrap();
    let exited = Outcome::Exited { status: 7 };
    for (id, length) in [("half", Some(4096)), ("whole", None)] {
        let id = RequestId::parse(id).unwrap();
        let body = Request::script("exit 7").encode();
        let Ok(Created::New(job)) = spool.create(&id, (&node, "k"), &body) else {
            panic!("not admitted");
        };
        assert!(job.claim_unstarted().unwrap());
        let record = OutcomeRecord::unseen(exited.clone());
        job.write_outcome(&record).unwrap();
        let room = job.path("outcome.room");
        std::fs::rename(job.path("outcome.json"), &room).unwrap();
        if let Some(length) = length {
            let file = std::fs::File::options().write(true).open(&room).unwrap();
            file.set_len(length).unwrap();
        }
    }
    let mut jobs = Jobs::recover(&spool, spool.jobs().unwrap(), 0);
    for _ in 0..2 {
        let FinishedJob { job, outcome, .. } = jobs.next_finished().await;
        let outcome = outcome.unwrap().outcome;
        match job.id.as_str() {
            "whole" => assert_eq!(outcome, exited),
            _ => assert_eq!(outcome.state(), "undetermined"),
        }
        assert_eq!(job.outcome().unwrap().unwrap().outcome, outcome);
    }
}
