//! Faults of processes: agents, supervisors and scripts are killed, stopped and started again.

use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use rustix::process::Signal;

use super::clock::{Clock, between};
use super::journal::Journal;
use super::node::{Node, Role, Victim};

/// A process of a request was killed.
pub(crate) struct Kill {
    pub(crate) node: usize,
    /// None where it was a fork server, or a supervisor in the moment after its birth.
    pub(crate) request: Option<String>,
    pub(crate) role: Role,
}

/// What is stopped, and until when.
enum Sleeper {
    Agent { node: usize, until: Instant },
    Process { victim: Victim, until: Instant },
}

struct Lane<'a> {
    nodes: &'a mut [Node],
    clock: &'a Clock,
    rng: Rng,
    journal: &'a mut Journal,
    sleepers: Vec<Sleeper>,
    kills: Vec<Kill>,
}

pub(crate) fn disturb(
    nodes: &mut [Node],
    clock: &Clock,
    rng: Rng,
    journal: &mut Journal,
) -> Result<Vec<Kill>> {
    let mut lane = Lane {
        nodes,
        clock,
        rng,
        journal,
        sleepers: Vec::new(),
        kills: Vec::new(),
    };
    while clock.is_foul() {
        // Mostly soon after each other, sometimes with time to breathe.
        let calm = lane.rng.f64().powi(3) * 2.0;
        clock.wait(Duration::from_secs_f64(calm));
        lane.wake_up(false);
        start_what_ended(lane.nodes, lane.journal)?;
        lane.strike()?;
    }
    lane.wake_up(true);
    Ok(lane.kills)
}

/// Agents that end by themselves (a full disk, an error) are started again, as init would, until
/// everything is answered.
pub(crate) fn keep_up(
    nodes: &mut [Node],
    journal: &mut Journal,
    is_done: impl Fn() -> bool,
) -> Result<()> {
    while !is_done() {
        start_what_ended(nodes, journal)?;
        std::thread::park_timeout(Duration::from_millis(200));
    }
    Ok(())
}

fn start_what_ended(nodes: &mut [Node], journal: &mut Journal) -> Result<()> {
    for node in nodes {
        if let Some(status) = node.ended() {
            journal.note(
                "(an agent ended by itself and was started again)",
                format!("{} {status}", node.name),
            );
            node.start_again()?;
        }
    }
    Ok(())
}

impl Lane<'_> {
    fn strike(&mut self) -> Result<()> {
        let node = self.rng.usize(..self.nodes.len());
        match self.rng.u32(..24) {
            0..3 => self.kill_agent(node),
            3..7 => self.strike_at_birth(node),
            7 => self.upgrade(node),
            8..10 => self.kill_of_a_job(node, &[Role::Supervisor]),
            10..12 => self.kill_of_a_job(node, &[Role::Script]),
            12 => self.kill_of_a_job(node, &[Role::Supervisor, Role::Script]),
            13 => {
                self.kill_of_a_job(node, &[Role::Script, Role::Supervisor])?;
                self.kill_agent(node)
            }
            14..16 => self.stop_agent(node),
            16..18 => self.stop_of_a_job(node, Role::Supervisor),
            18..20 => self.stop_of_a_job(node, Role::Script),
            20 => self.kill_fork_server(node),
            21 => self.stop_fork_server(node),
            _ => self.two_supervisors(node),
        }
    }

    fn kill_agent(&mut self, node: usize) -> Result<()> {
        self.journal.note("agent: killed", &self.nodes[node].name);
        self.nodes[node].kill()?;
        if self.rng.bool() {
            let away = between(&mut self.rng, Duration::ZERO, Duration::from_secs(2));
            self.clock.wait(away);
        }
        self.nodes[node].start_again()
    }

    fn upgrade(&mut self, node: usize) -> Result<()> {
        self.journal
            .note("agent: replaced by a new binary", &self.nodes[node].name);
        self.nodes[node].upgrade()
    }

    /// Waits until the agent starts something, and strikes in the milliseconds in which a job is
    /// neither one thing nor the other.
    fn strike_at_birth(&mut self, node: usize) -> Result<()> {
        if !self.wait_for_a_birth(node) {
            return Ok(());
        }
        let moment = Instant::now() + Duration::from_micros(self.rng.u64(..8000));
        while Instant::now() < moment {}
        if self.rng.bool() {
            let young = self.nodes[node]
                .victims()
                .into_iter()
                .max_by_key(|victim| victim.pid);
            if let Some(victim) = young {
                self.kill(node, &victim, "at birth")?;
            }
        }
        if self.rng.bool() {
            self.kill_agent(node)?;
        }
        Ok(())
    }

    /// Stops the fork server with a job in its socket, so that the next agent has another start the same
    /// job.
    fn two_supervisors(&mut self, node: usize) -> Result<()> {
        let Some(victim) = self.fork_server(node) else {
            return Ok(());
        };
        victim.signal(Signal::STOP);
        let time = between(&mut self.rng, Duration::ZERO, Duration::from_millis(500));
        self.clock.wait(time);
        self.journal.note(
            "fork server: stopped with a job just given, its agent killed",
            &self.nodes[node].name,
        );
        self.nodes[node].kill()?;
        self.nodes[node].start_again()?;
        let time = between(&mut self.rng, Duration::ZERO, Duration::from_secs(1));
        self.sleep(victim, time);
        Ok(())
    }

    fn fork_server(&self, node: usize) -> Option<Victim> {
        let mut victims = self.nodes[node].victims().into_iter();
        victims.find(|victim| victim.role == Role::ForkServer)
    }

    /// Mostly while it has something to do.
    fn kill_fork_server(&mut self, node: usize) -> Result<()> {
        if self.rng.bool() {
            self.wait_for_a_birth(node);
        }
        match self.fork_server(node) {
            Some(victim) => self.kill(node, &victim, ""),
            None => Ok(()),
        }
    }

    /// Longer than its agent waits for it in one of four.
    fn stop_fork_server(&mut self, node: usize) -> Result<()> {
        let Some(victim) = self.fork_server(node) else {
            return Ok(());
        };
        let most = if self.rng.u32(..4) == 0 { 14 } else { 3 };
        let time = between(
            &mut self.rng,
            Duration::from_millis(20),
            Duration::from_secs(most),
        );
        self.journal.note(
            "fork server: stopped and continued",
            format!("{} for {time:?}", self.nodes[node].name),
        );
        victim.signal(Signal::STOP);
        self.sleep(victim, time);
        Ok(())
    }

    fn sleep(&mut self, victim: Victim, time: Duration) {
        self.sleepers.push(Sleeper::Process {
            victim,
            until: Instant::now() + time,
        });
    }

    /// Whether the agent started something within a second.
    fn wait_for_a_birth(&self, node: usize) -> bool {
        let before = self.nodes[node].children();
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.nodes[node].children() == before {
            if Instant::now() > deadline {
                return false;
            }
        }
        true
    }

    fn kill_of_a_job(&mut self, node: usize, roles: &[Role]) -> Result<()> {
        let mut victims = self.nodes[node].victims();
        victims.retain(|victim| victim.role != Role::ForkServer);
        let Some(one) = self.rng.choice(&victims) else {
            return Ok(());
        };
        let request = one.request.clone();
        for role in roles {
            let of_it = victims
                .iter()
                .filter(|victim| victim.request == request && victim.role == *role);
            for victim in of_it {
                self.kill(node, victim, "")?;
            }
        }
        Ok(())
    }

    fn kill(&mut self, node: usize, victim: &Victim, when: &str) -> Result<()> {
        victim.signal(Signal::KILL);
        let mut request = victim.request.clone();
        if request.is_none() && victim.role == Role::Supervisor {
            // It may have begun between our look and its death.
            victim.wait()?;
            request = self.nodes[node].supervised().remove(&victim.pid);
        }
        let fault = match (victim.role, &request) {
            (Role::ForkServer, _) => "fork server: killed",
            (Role::Supervisor, Some(_)) => "supervisor: killed",
            (Role::Supervisor, None) => "supervisor: killed before it had begun",
            (Role::Script, _) => "script: killed",
        };
        let whose = request.as_deref().unwrap_or("nobody's");
        self.journal
            .note(fault, format!("{} {whose} {when}", self.nodes[node].name));
        self.kills.push(Kill {
            node,
            request,
            role: victim.role,
        });
        Ok(())
    }

    /// Longer than the heartbeat in one of four.
    fn stop_agent(&mut self, node: usize) -> Result<()> {
        let most = if self.rng.u32(..4) == 0 { 16 } else { 3 };
        let time = between(
            &mut self.rng,
            Duration::from_millis(20),
            Duration::from_secs(most),
        );
        self.journal.note(
            "agent: stopped and continued",
            format!("{} for {time:?}", self.nodes[node].name),
        );
        self.nodes[node].signal(Signal::STOP);
        self.sleepers.push(Sleeper::Agent {
            node,
            until: Instant::now() + time,
        });
        Ok(())
    }

    fn stop_of_a_job(&mut self, node: usize, role: Role) -> Result<()> {
        let victims = self.nodes[node].victims().into_iter();
        let mut victims: Vec<Victim> = victims.filter(|victim| victim.role == role).collect();
        if victims.is_empty() {
            return Ok(());
        }
        let victim = victims.swap_remove(self.rng.usize(..victims.len()));
        let time = between(
            &mut self.rng,
            Duration::from_millis(20),
            Duration::from_secs(5),
        );
        let fault = match role {
            Role::Script => "script: stopped and continued",
            Role::Supervisor | Role::ForkServer => "supervisor: stopped and continued",
        };
        self.journal.note(
            fault,
            format!(
                "{} {:?} for {time:?}",
                self.nodes[node].name, victim.request
            ),
        );
        victim.signal(Signal::STOP);
        self.sleep(victim, time);
        Ok(())
    }

    fn wake_up(&mut self, all: bool) {
        let now = Instant::now();
        let nodes = &self.nodes;
        self.sleepers.retain(|sleeper| match sleeper {
            Sleeper::Agent { until, .. } | Sleeper::Process { until, .. }
                if !all && now < *until =>
            {
                true
            }
            Sleeper::Agent { node, .. } => {
                // It may have been killed since; another in its place is not hurt by this.
                nodes[*node].signal(Signal::CONT);
                false
            }
            Sleeper::Process { victim, .. } => {
                victim.signal(Signal::CONT);
                false
            }
        });
    }
}
