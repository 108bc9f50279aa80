//! Discovery: one broadcast, and the sysinfo that every node answers with. Neither `ur` nor the broker knows how
//! many nodes there are, so a search ends with a silence; how long a silence depends on what is known. Whatever
//! answers, it ends: the bounds of what it takes in are in `search_limits.rs`.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, timeout_at};

use super::claims::{drop_false_claims, mark_namesakes};
use super::expected_nodes::ExpectedNodes;
use super::remembered_nodes::{self, NOT_REMEMBERED};
use super::search_limits::SearchLimits;
use super::{Client, Node, Remembered, WantedNames, by_name};
use broker::{Delivery, Routing, Subscription};
use protocol::{NodeId, RequestId, RoutingKey, SysinfoRequest};

/// The silence that ends a search, unless the operator gives another by `--discover`.
const QUIET: Duration = Duration::from_secs(1);
/// A search may end early after so many times the longest gap between two answers.
const GAPS: u32 = 4;
/// Bounds of that silence once all nodes have answered that did the last time.
const AFTER_THE_LAST_KNOWN: [Duration; 2] = [Duration::from_millis(250), QUIET];
/// And once all named nodes have answered: a second machine of the same UUID still has time to answer.
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
    let mut known = client.expected_nodes();
    let names = names_to_ask(client, &search.wanted);
    if !names.is_empty() {
        let asked = names.iter().cloned().collect();
        let (limits, end) = ask(client, search.clone(), &mut known, asked).await?;
        let mut wanted = limits
            .nodes
            .iter()
            .filter(|node| search.wanted.expects(node));
        let is_asked = wanted.all(|node| names.contains(&node.id.as_str().to_lowercase()));
        if is_asked && end == End::Silence(Heard::AllWanted) {
            return finish_search(client, limits, end, &known).await;
        }
        known = client.expected_nodes();
    }
    let (limits, end) = ask(client, search, &mut known, Vec::new()).await?;
    finish_search(client, limits, end, &known).await
}

/// The names, and the UUIDs that they meant before: a second machine of such a UUID may go by another name, and is to
/// show itself. Where a name means a UUID that was not asked for, all are asked.
fn names_to_ask(client: &Client, wanted: &WantedNames) -> HashSet<String> {
    let mut names: HashSet<String> = wanted.names().into_iter().collect();
    if names.is_empty() {
        return names;
    }
    let remembered = client
        .remembered_nodes()
        .nodes()
        .unwrap_or_default()
        .into_iter();
    let meant = remembered.filter(|known| wanted.expects(&known.node));
    names.extend(meant.map(|known| known.node.id.as_str().to_lowercase()));
    names
}

/// One question, and the answers to it.
async fn ask(
    client: &Client,
    search: Search,
    known: &mut ExpectedNodes,
    names: Vec<String>,
) -> Result<(SearchLimits, End)> {
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
        return Ok((SearchLimits::new(Instant::now()), End::NoQueue));
    }
    collect(&mut subscription, search, known).await
}

async fn finish_search(
    client: &Client,
    limits: SearchLimits,
    end: End,
    known: &ExpectedNodes,
) -> Result<Found> {
    let mut notes = limits.notes();
    if end == End::TimeIsUp {
        let took = Instant::now() - limits.began;
        notes.push(format!(
            "the search was ended after {:.0} s, though nodes still answered: some may be missing (--discover makes it longer)",
            took.as_secs_f64()
        ));
    }
    let (nodes, false_claims) = drop_false_claims(client, limits.nodes).await?;
    notes.extend(false_claims.iter().map(|claim| {
        let mac = claim.mac.as_deref().unwrap_or("no admin MAC");
        let (hostname, id) = (&claim.hostname, &claim.id);
        format!("{hostname} ({mac}) is left out: it gives the UUID {id} of another node, and no agent listens there")
    }));
    match end {
        End::Silence(heard) => remember(known, heard, &nodes),
        End::ShortSilence | End::TimeIsUp | End::NoQueue => {}
    }
    let mut found = add_missing(client, nodes, notes).await;
    if end == End::Silence(Heard::AllWanted) {
        found.misses_unknown = false;
        found.notes.retain(|note| note != NOT_REMEMBERED);
    }
    Ok(found)
}

/// Notes who was seen, and adds who was not.
async fn add_missing(client: &Client, mut nodes: Vec<Node>, mut notes: Vec<String>) -> Found {
    mark_namesakes(&mut nodes);
    nodes.sort_by(in_order);
    let unseen = client.remembered_nodes().saw(&nodes).await;
    let mut missing = unseen.missing;
    notes.extend(unseen.notes);
    remembered_nodes::mark_missing_namesakes(&mut missing, &mut nodes);
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
    Silence(Heard),
    /// Too short a silence says nothing about those that it did not wait for.
    ShortSilence,
    TimeIsUp,
    /// There is no agent.
    NoQueue,
}

async fn collect(
    subscription: &mut Subscription,
    search: Search,
    known: &mut ExpectedNodes,
) -> Result<(SearchLimits, End)> {
    let mut wanted = search.wanted;
    let mut limits = SearchLimits::new(Instant::now());
    let mut patience = Patience::new(search.quiet, limits.began);
    let mut heard = Heard::NotAllKnown;
    loop {
        let silence = patience.until(heard);
        let time_is_up = limits.began + limits.longest(search.quiet);
        let received = timeout_at(silence.min(time_is_up), subscription.receive()).await;
        let Ok(delivery) = received else {
            let end = match heard {
                _ if time_is_up < silence => End::TimeIsUp,
                Heard::NotAllKnown if !patience.is_for_all() => End::ShortSilence,
                heard => End::Silence(heard),
            };
            return Ok((limits, end));
        };
        let delivery = delivery?;
        if !limits.reads(delivery.body.len()) {
            continue;
        }
        let Some(node) = read(&delivery, search.keep_sysinfo) else {
            continue;
        };
        let expected = known.expects(&node) || wanted.expects(&node);
        if !limits.take(&node, expected) {
            continue;
        }
        patience.answered(Instant::now());
        let all_known = known.answered(&node);
        heard = if wanted.answered(&node) {
            Heard::AllWanted
        } else if all_known {
            Heard::AllKnown
        } else {
            Heard::NotAllKnown
        };
        if heard == Heard::AllWanted {
            patience.complete();
        }
    }
}

fn remember(known: &ExpectedNodes, heard: Heard, nodes: &[Node]) {
    match heard {
        // Others were not waited for.
        Heard::AllWanted => {}
        Heard::AllKnown => known.add(nodes),
        Heard::NotAllKnown => known.replace(nodes),
    }
}

/// Who has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    NotAllKnown,
    /// All that answered the last time have answered; whether others have come since is not known.
    AllKnown,
    AllWanted,
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

    fn until(&self, heard: Heard) -> Instant {
        let gaps = self.longest_gap * GAPS;
        let within = |[least, most]: [Duration; 2]| gaps.clamp(least, most);
        let quiet = self.quiet.unwrap_or(QUIET);
        self.latest
            + match heard {
                Heard::AllWanted => within(AFTER_THE_LAST_WANTED).min(quiet),
                Heard::AllKnown if self.quiet.is_none() => within(AFTER_THE_LAST_KNOWN),
                Heard::AllKnown | Heard::NotAllKnown => quiet,
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
    fn waits(quiet: Option<Duration>, gaps: &[u64], heard: Heard) -> Duration {
        let mut now = Instant::now();
        let mut patience = Patience::new(quiet, now);
        for gap in gaps {
            now += ms(*gap);
            patience.answered(now);
        }
        patience.until(heard) - now
    }

    #[test]
    fn a_second_of_silence_ends_a_search_where_nothing_is_known() {
        assert_eq!(waits(None, &[5, 5], Heard::NotAllKnown), ms(1000));
        assert_eq!(waits(None, &[], Heard::NotAllKnown), ms(1000));
        assert_eq!(waits(Some(ms(300)), &[5, 5], Heard::NotAllKnown), ms(300));
    }

    #[test]
    fn a_search_ends_early_where_all_known_nodes_have_answered_without_long_gaps() {
        assert_eq!(waits(None, &[5, 5], Heard::AllKnown), ms(250));
        assert_eq!(waits(None, &[5, 100, 5], Heard::AllKnown), ms(400));
        assert_eq!(waits(None, &[5, 700], Heard::AllKnown), ms(1000));
    }

    #[test]
    fn a_silence_that_was_asked_for_is_kept() {
        assert_eq!(waits(Some(ms(3000)), &[5], Heard::AllKnown), ms(3000));
        assert_eq!(waits(Some(ms(50)), &[5], Heard::AllWanted), ms(50));
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
        assert_eq!(patience.until(Heard::AllWanted), asked + ms(105));
    }

    #[test]
    fn a_silence_that_is_shorter_than_usual_makes_no_list_of_all_nodes() {
        let is_for_all = |quiet| Patience::new(quiet, Instant::now()).is_for_all();
        assert!(is_for_all(None) && is_for_all(Some(ms(1000))));
        assert!(!is_for_all(Some(ms(300))));
    }

    #[test]
    fn after_the_named_ones_a_second_machine_of_the_same_uuid_has_time_to_answer() {
        assert_eq!(waits(None, &[5], Heard::AllWanted), ms(100));
        assert_eq!(waits(None, &[40], Heard::AllWanted), ms(160));
        assert_eq!(waits(None, &[400], Heard::AllWanted), ms(250));
    }
}
