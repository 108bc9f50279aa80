//! Real agents whose broker is restarted: how soon each is connected again and has said so.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use broker::{Broker, Subscription, Url};
use protocol::{RequestId, RoutingKey};
use tempfile::TempDir;
use tokio::time::{sleep, timeout_at};

use crate::fake_nodes::uuid;
use crate::median;
use crate::program::beside_us;

const PATIENCE: Duration = Duration::from_secs(180);
/// Between two attempts of this program, which is to be there before the agents are.
const RETRY: Duration = Duration::from_millis(10);
const LISTEN_TO: [&str; 3] = ["ur.sysinfo.*.*", "ur.startup.*", "ur.execute-reply.*.*"];

/// Agents of this machine, each with a state directory of its own.
struct Agents {
    children: Vec<Child>,
    _dir: TempDir,
}

impl Agents {
    fn start(url: &str, count: usize) -> Result<Self> {
        let (dir, program) = (tempfile::tempdir()?, beside_us("ur-agent")?);
        let mut children = Vec::new();
        for i in 0..count {
            let sysinfo = dir.path().join(format!("sysinfo{i}"));
            let mut file = std::fs::File::create(&sysinfo)?;
            let uuid = uuid(i);
            writeln!(
                file,
                "#!/bin/sh\necho '{{\"UUID\":\"{uuid}\",\"Hostname\":\"agent{i}\"}}'"
            )?;
            file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
            drop(file);
            let child = Command::new(&program)
                .env("UR_AMQP_URL", url)
                .arg("--sysinfo")
                .arg(&sysinfo)
                .arg("--state-dir")
                .arg(dir.path().join(format!("state{i}")))
                .stderr(Stdio::null())
                .spawn()?;
            children.push(child);
        }
        Ok(Self {
            children,
            _dir: dir,
        })
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for child in &mut self.children {
            let ended = child.kill().and_then(|()| child.wait());
            ended.expect("a child of ours can be killed");
        }
    }
}

/// Prints when they were back: the median and the last of them.
pub(crate) async fn measure(url: &str, count: usize) -> Result<()> {
    let Ok(dir) = std::env::var("UR_BROKER_DIR") else {
        println!("{count} real agents: not measured, the broker is not ours to restart");
        return Ok(());
    };
    let broker: Url = url.parse()?;
    let (connection, mut subscription) = listen(&broker).await?;
    let agents = Agents::start(url, count)?;
    first_messages(&mut subscription, count)
        .await
        .context("starting")?;
    drop((connection, subscription));

    let restarted = Instant::now();
    let mut restart = Command::new(ur_tests::checkout().join("tools/private-broker"))
        .args(["restart", &dir])
        .spawn()?;
    // The old one may take a connection more before it ends.
    while broker_answers(&broker).await {
        sleep(RETRY).await;
    }
    let (_connection, mut subscription) = loop {
        match listen(&broker).await {
            Ok(open) => break open,
            Err(_still_starting) if restarted.elapsed() < PATIENCE => sleep(RETRY).await,
            Err(error) => return Err(error.context("connecting to the broker that was restarted")),
        }
    };
    let up = restarted.elapsed().as_secs_f64();
    let since_up = Instant::now();
    let back = first_messages(&mut subscription, count)
        .await
        .context("after the restart")?;
    ensure!(restart.wait()?.success(), "the broker did not restart");
    drop(agents);

    let times: Vec<f64> = back
        .iter()
        .map(|at| (*at - since_up).as_secs_f64())
        .collect();
    let last = times.iter().copied().fold(0.0, f64::max);
    let middle = median(times);
    println!(
        "{count} real agents, broker restarted (it was back after {up:.1} s): every agent back and told; since the restart began median {:.1} s, last {:.1} s ({:.2} x the median); since the broker was back median {middle:.1} s, last {last:.1} s",
        up + middle,
        up + last,
        (up + last) / (up + middle)
    );
    Ok(())
}

async fn broker_answers(url: &Url) -> bool {
    match Broker::connect(url, "fleet").await {
        Ok(broker) => broker.close().await.is_ok(),
        Err(_) => false,
    }
}

/// The nodes' announcements. Who was there before us answers a broadcast.
async fn listen(url: &Url) -> Result<(Broker, Subscription)> {
    let broker = Broker::connect(url, "fleet").await?;
    let queue = format!("ur.client.{}", RequestId::random());
    let subscription = broker
        .subscribe(&queue, &LISTEN_TO.map(str::to_owned))
        .await?;
    let question = format!("ur.broadcast.sysinfo.{}", RequestId::random());
    let publisher = broker.publisher().await?;
    publisher.publish(&question, b"{}").await?.routing().await?;
    Ok((broker, subscription))
}

/// When the first message of each of `count` nodes came.
async fn first_messages(subscription: &mut Subscription, count: usize) -> Result<Vec<Instant>> {
    let mut seen: HashMap<String, Instant> = HashMap::new();
    let until = tokio::time::Instant::now() + PATIENCE;
    while seen.len() < count {
        let next = timeout_at(until, subscription.receive()).await;
        let missing = count - seen.len();
        let delivery = next.with_context(|| format!("{missing} agents are not there"))??;
        if let Ok(
            RoutingKey::Sysinfo { node, .. }
            | RoutingKey::Startup { node }
            | RoutingKey::ExecuteReply { node, .. },
        ) = RoutingKey::parse(&delivery.routing_key)
        {
            seen.entry(node).or_insert_with(Instant::now);
        }
    }
    Ok(seen.into_values().collect())
}
