//! Discovery: one broadcast, and the sysinfo that every node answers with. Neither `ur` nor the broker knows how
//! many nodes there are, so a search ends with a silence; how long a silence depends on what is known. Whatever
//! answers, it ends: the bounds of what it takes in are in the intake.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, timeout_at};

use super::claims::{founded, mark_namesakes};
use super::fleet::{self, NOT_REMEMBERED};
use super::intake::Intake;
use super::known_nodes::KnownNodes;
use super::{Client, Node, Remembered, WantedNames, by_name};
use broker::{Delivery, Routing, Subscription};
use protocol::{NodeId, RequestId, RoutingKey, SysinfoRequest};

/// The silence that ends a search where no other is asked for.
const QUIET: Duration = Duration::from_secs(1);
/// How often the longest silence between two answers must have passed again, until one may be the last.
const GAPS: u32 = 4;
/// The least and the most of that where all nodes have answered that did the last time.
const AFTER_THE_LAST_KNOWN: [Duration; 2] = [Duration::from_millis(250), QUIET];
/// The same where all have answered that were named: a second machine of the same UUID is to show itself.
const AFTER_THE_LAST_WANTED: [Duration; 2] =
    [Duration::from_millis(100), Duration::from_millis(250)];

/// How old sysinfo may be that is looked into.
const FACTS_AGE: Duration = Duration::from_secs(5);
/// And where it tells names and addresses only: as old as it ever is, so that no node has to collect it anew.
const NAMES_AGE: Duration = Duration::from_secs(90);

/// What is searched for, and how.
#[derive(Clone)]
pub struct Search {
    /// The silence that ends it, whichever nodes have answered. Without one, it is a second or less.
    pub quiet: Option<Duration>,
    pub wanted: WantedNames,
    /// Keep all that the nodes say, not only what they are listed and chosen by.
    pub keep_sysinfo: bool,
}

impl Search {
    /// For every node that is there.
    pub fn for_all(quiet: Option<Duration>) -> Self {
        Self {
            quiet,
            wanted: WantedNames::unknown(),
            keep_sysinfo: false,
        }
    }
}

/// The nodes that answered, and what the operator is to know of answers that were left out.
pub struct Found {
    /// Sorted by hostname; a machine that answers twice is there once.
    pub nodes: Vec<Node>,
    /// Those that answered some time before and not now, sorted alike. A search for named nodes does not wait for
    /// the others.
    pub missing: Vec<Remembered>,
    /// Others may be missing, but who they are cannot be read. No matter where all have answered that were named.
    pub misses_unknown: bool,
    pub notes: Vec<String>,
}

/// Asks who is there. Where names say who has to answer, these are asked alone, as thousands of others would answer at
/// the same time; all are asked if one of these does not answer.
pub async fn discover(client: &Client, search: Search) -> Result<Found> {
    let mut known = client.known_nodes();
    let names = names_to_ask(client, &search.wanted);
    if !names.is_empty() {
        let asked = names.iter().cloned().collect();
        let (intake, end) = ask(client, search.clone(), &mut known, asked).await?;
        let mut wanted = intake
            .nodes
            .iter()
            .filter(|node| search.wanted.expects(node));
        let is_asked = wanted.all(|node| names.contains(&node.id.as_str().to_lowercase()));
        if is_asked && end == End::Silence(Missing::NoneWanted) {
            return found_by(client, intake, end, &known).await;
        }
        known = client.known_nodes();
    }
    let (intake, end) = ask(client, search, &mut known, Vec::new()).await?;
    found_by(client, intake, end, &known).await
}

/// The names, and the UUIDs that they meant before: a second machine of such a UUID may go by another name, and is to
/// show itself. Where a name means a UUID that was not asked for, all are asked.
fn names_to_ask(client: &Client, wanted: &WantedNames) -> HashSet<String> {
    let mut names: HashSet<String> = wanted.names().into_iter().collect();
    if names.is_empty() {
        return names;
    }
    let remembered = client.fleet().nodes().unwrap_or_default().into_iter();
    let meant = remembered.filter(|known| wanted.expects(&known.node));
    names.extend(meant.map(|known| known.node.id.as_str().to_lowercase()));
    names
}

/// One question, and the answers to it.
async fn ask(
    client: &Client,
    search: Search,
    known: &mut KnownNodes,
    names: Vec<String>,
) -> Result<(Intake, End)> {
    let request = RequestId::random().to_string();
    let answers = RoutingKey::ExecuteReply {
        node: "*".to_owned(),
        request: request.clone(),
    };
    let mut subscription = client.subscribe(&[answers.to_string()]).await?;
    let question = RoutingKey::Broadcast {
        what: "sysinfo".to_owned(),
        request,
    };
    let max_age = match search.keep_sysinfo {
        true => FACTS_AGE,
        false => NAMES_AGE,
    };
    let body = serde_json::to_vec(&SysinfoRequest {
        max_age: Some(max_age.as_secs_f64()),
        names,
    })?;
    if client.send(&question, body).await? == Routing::Unroutable {
        return Ok((Intake::new(Instant::now()), End::NoQueue));
    }
    collect(&mut subscription, search, known).await
}

async fn found_by(client: &Client, intake: Intake, end: End, known: &KnownNodes) -> Result<Found> {
    let mut notes = intake.notes();
    if end == End::TimeIsUp {
        let took = Instant::now() - intake.began;
        notes.push(format!(
            "the search was ended after {:.0} s, though nodes still answered: some may be missing (--discover makes it longer)",
            took.as_secs_f64()
        ));
    }
    let (nodes, unfounded) = founded(client, intake.nodes).await?;
    notes.extend(unfounded.iter().map(|claim| {
        let mac = claim.mac.as_deref().unwrap_or("no admin MAC");
        let (hostname, id) = (&claim.hostname, &claim.id);
        format!("{hostname} ({mac}) is left out: it gives the UUID {id} of another node, and no agent listens there")
    }));
    match end {
        End::Silence(missing) => remember(known, missing, &nodes),
        End::ShortSilence | End::TimeIsUp | End::NoQueue => {}
    }
    let mut found = found(client, nodes, notes).await;
    if end == End::Silence(Missing::NoneWanted) {
        found.misses_unknown = false;
        found.notes.retain(|note| note != NOT_REMEMBERED);
    }
    Ok(found)
}

/// Notes who was seen, and adds who was not.
async fn found(client: &Client, mut nodes: Vec<Node>, mut notes: Vec<String>) -> Found {
    mark_namesakes(&mut nodes);
    nodes.sort_by(in_order);
    let unseen = client.fleet().saw(&nodes).await;
    let mut missing = unseen.missing;
    notes.extend(unseen.notes);
    fleet::mark_namesakes(&mut missing, &mut nodes);
    missing.sort_by(|a, b| in_order(&a.node, &b.node));
    Found {
        nodes,
        missing,
        misses_unknown: unseen.is_in_part,
        notes,
    }
}

fn in_order(a: &Node, b: &Node) -> Ordering {
    let machine = || (&a.id, &a.mac).cmp(&(&b.id, &b.mac));
    by_name(&a.hostname, &b.hostname).then_with(machine)
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Silence(Missing),
    /// Too short a silence says nothing about those that it did not wait for.
    ShortSilence,
    TimeIsUp,
    /// There is no agent.
    NoQueue,
}

async fn collect(
    subscription: &mut Subscription,
    search: Search,
    known: &mut KnownNodes,
) -> Result<(Intake, End)> {
    let mut wanted = search.wanted;
    let mut intake = Intake::new(Instant::now());
    let mut patience = Patience::new(search.quiet, intake.began);
    let mut missing = Missing::Unknown;
    loop {
        let silence = patience.until(missing);
        let time_is_up = intake.began + intake.longest(search.quiet);
        let received = timeout_at(silence.min(time_is_up), subscription.receive()).await;
        let Ok(delivery) = received else {
            let end = match missing {
                _ if time_is_up < silence => End::TimeIsUp,
                Missing::Unknown if !patience.is_for_all() => End::ShortSilence,
                missing => End::Silence(missing),
            };
            return Ok((intake, end));
        };
        let delivery = delivery?;
        if !intake.reads(delivery.body.len()) {
            continue;
        }
        let Some(node) = read(&delivery, search.keep_sysinfo) else {
            continue;
        };
        let expected = known.expects(&node) || wanted.expects(&node);
        if !intake.take(&node, expected) {
            continue;
        }
        patience.answered(Instant::now());
        let all_known = known.answered(&node);
        missing = if wanted.answered(&node) {
            Missing::NoneWanted
        } else if all_known {
            Missing::NoneKnown
        } else {
            Missing::Unknown
        };
        if missing == Missing::NoneWanted {
            patience.complete();
        }
    }
}

fn remember(known: &KnownNodes, missing: Missing, nodes: &[Node]) {
    match missing {
        // Others were not waited for.
        Missing::NoneWanted => {}
        Missing::NoneKnown => known.add(nodes),
        Missing::Unknown => known.replace(nodes),
    }
}

/// Who has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Unknown,
    /// All that answered the last time have answered; whether others have come since is not known.
    NoneKnown,
    NoneWanted,
}

/// How long the next answer is waited for.
///
/// A node that answers later than the others is found by the silence of a second, as ever; from then on it is
/// known, and a search does not end before it has answered or a second is over. So a shorter silence
/// passes over a node only if it is both new and several times slower than all others, and only
/// until the next whole search.
struct Patience {
    /// That was asked for.
    quiet: Option<Duration>,
    latest: Instant,
    longest_gap: Duration,
    /// The last one that was named has answered: what others say later is not waited for.
    is_complete: bool,
}

impl Patience {
    fn new(quiet: Option<Duration>, asked_at: Instant) -> Self {
        Self {
            quiet,
            latest: asked_at,
            longest_gap: Duration::ZERO,
            is_complete: false,
        }
    }

    fn complete(&mut self) {
        self.is_complete = true;
    }

    fn answered(&mut self, now: Instant) {
        if self.is_complete {
            return;
        }
        self.longest_gap = self.longest_gap.max(now - self.latest);
        self.latest = now;
    }

    /// Whether a search that has not heard of all that it knows waits for everybody.
    fn is_for_all(&self) -> bool {
        self.quiet.is_none_or(|quiet| quiet >= QUIET)
    }

    fn until(&self, missing: Missing) -> Instant {
        let gaps = self.longest_gap * GAPS;
        let within = |[least, most]: [Duration; 2]| gaps.clamp(least, most);
        let quiet = self.quiet.unwrap_or(QUIET);
        self.latest
            + match missing {
                Missing::NoneWanted => within(AFTER_THE_LAST_WANTED).min(quiet),
                Missing::NoneKnown if self.quiet.is_none() => within(AFTER_THE_LAST_KNOWN),
                Missing::NoneKnown | Missing::Unknown => quiet,
            }
    }
}

/// The node is the one of the key: it is what we shall send to.
fn read(delivery: &Delivery, keep_sysinfo: bool) -> Option<Node> {
    let Ok(RoutingKey::ExecuteReply { node, .. }) = RoutingKey::parse(&delivery.routing_key) else {
        return None;
    };
    let mut node = Node::read(NodeId::parse(&node).ok()?, &delivery.body)?;
    if keep_sysinfo {
        let text = String::from_utf8(delivery.body.clone()).ok()?;
        node.keep(text).ok()?;
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// How long after the last of those answers, each so long after the one before it, a search ends.
    fn waits(quiet: Option<Duration>, gaps: &[u64], missing: Missing) -> Duration {
        let mut now = Instant::now();
        let mut patience = Patience::new(quiet, now);
        for gap in gaps {
            now += ms(*gap);
            patience.answered(now);
        }
        patience.until(missing) - now
    }

    #[test]
    fn a_second_of_silence_ends_a_search_where_nothing_is_known() {
        assert_eq!(waits(None, &[5, 5], Missing::Unknown), ms(1000));
        assert_eq!(waits(None, &[], Missing::Unknown), ms(1000));
        assert_eq!(waits(Some(ms(300)), &[5, 5], Missing::Unknown), ms(300));
    }

    #[test]
    fn a_search_ends_early_where_all_known_nodes_have_answered_without_long_gaps() {
        assert_eq!(waits(None, &[5, 5], Missing::NoneKnown), ms(250));
        assert_eq!(waits(None, &[5, 100, 5], Missing::NoneKnown), ms(400));
        assert_eq!(waits(None, &[5, 700], Missing::NoneKnown), ms(1000));
    }

    #[test]
    fn a_silence_that_was_asked_for_is_kept() {
        assert_eq!(waits(Some(ms(3000)), &[5], Missing::NoneKnown), ms(3000));
        assert_eq!(waits(Some(ms(50)), &[5], Missing::NoneWanted), ms(50));
    }

    #[test]
    fn answers_of_others_do_not_put_off_the_end_of_a_search_for_named_nodes() {
        let asked = Instant::now();
        let mut patience = Patience::new(None, asked);
        patience.answered(asked + ms(5));
        patience.complete();
        for i in 1..100 {
            patience.answered(asked + ms(5 + i * 10));
        }
        assert_eq!(patience.until(Missing::NoneWanted), asked + ms(105));
    }

    #[test]
    fn a_silence_that_is_shorter_than_usual_makes_no_list_of_all_nodes() {
        let is_for_all = |quiet| Patience::new(quiet, Instant::now()).is_for_all();
        assert!(is_for_all(None) && is_for_all(Some(ms(1000))));
        assert!(!is_for_all(Some(ms(300))));
    }

    #[test]
    fn after_the_named_ones_a_second_machine_of_the_same_uuid_has_time_to_answer() {
        assert_eq!(waits(None, &[5], Missing::NoneWanted), ms(100));
        assert_eq!(waits(None, &[40], Missing::NoneWanted), ms(160));
        assert_eq!(waits(None, &[400], Missing::NoneWanted), ms(250));
    }
}
