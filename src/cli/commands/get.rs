//! `ur get`: a file or folder of each node into a folder of its own here, by the task `file::get`. What a node sends is
//! bounded, compared with its digest, and stays in its folder.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::archive::{digest, finish_file, time_of, unpack};
use crate::exit::{Exit, Usage};
use crate::flags::broker::BrokerArgs;
use crate::flags::transfer::{
    Done, LIMIT, SHORT_REPLY, STEP, Step, Transfer, TransferArgs, those, transfer,
};
use crate::view::file_name;
use client::Target;
use protocol::NodeId;

/// Bytes of a piece: as base64 it fits into the output that an agent keeps.
const PIECE: u64 = 3_000_000;
/// How long a node keeps its copy, and an interrupted `ur get` can be gone on with, less some minutes.
const COPY_LASTS: Duration = Duration::from_secs(50 * 60);

#[derive(Debug, Args)]
#[command(override_usage = "ur get [OPTIONS] TARGETS PATH DIR")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    transfer: TransferArgs,
    /// A file or folder on the nodes, 256 MB at most
    path: String,
    /// Where to put it here: as DIR/NODE/NAME
    dir: PathBuf,
}

pub(crate) async fn get(broker: &BrokerArgs, args: GetArgs) -> Result<Exit> {
    let name = Path::new(&args.path).file_name();
    let name = name.filter(|_| args.path.starts_with('/') && !args.path.contains('\n'));
    let Some(name) = name else {
        let bad = format!(
            "{:?} is no file or folder: write an absolute path",
            args.path
        );
        return Err(Usage(bad).into());
    };
    let arrivals = Arrivals::in_dir(&args.dir, &args.path, Path::new(name))?;
    let exit = transfer(broker, &args.transfer, "file::get", async |nodes| {
        fetch(nodes, &args.path, &arrivals).await
    })
    .await;
    arrivals.end();
    exit
}

/// What a node says of its copy.
#[derive(Clone, Debug, Deserialize)]
struct RemoteCopy {
    kind: Kind,
    bytes: u64,
    sha256: String,
    mode: String,
    mtime: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    File,
    Folder,
}

/// How far a node's copy has come.
struct Arriving {
    copy: RemoteCopy,
    have: u64,
    /// Where it is, once it is whole.
    at: Option<String>,
}

/// Where pieces are put together: a hidden folder, which is left behind by what was interrupted.
struct Arrivals {
    dir: PathBuf,
    parts: PathBuf,
    /// Names the copies on the nodes.
    id: String,
    name: PathBuf,
}

async fn fetch(nodes: &mut Transfer<'_>, path: &str, arrivals: &Arrivals) -> Result<()> {
    let step = |name: &str, offset: u64| {
        let parameters = json!({
            "step": name, "path": path, "id": arrivals.id, "limit": LIMIT, "offset": offset, "length": PIECE,
        });
        Step {
            parameters: parameters.as_object().cloned().unwrap_or_default(),
            reply: match name {
                "piece" => PIECE as usize * 4 / 3,
                _ => SHORT_REPLY,
            },
            node_js_wait: STEP,
            is_last: name == "finish",
        }
    };
    let mut arriving: HashMap<NodeId, Arriving> = HashMap::new();
    let all = nodes.nodes.clone();
    nodes
        .step(step("begin", 0), all, &mut |node, value| {
            let mut begun = arrivals.begin(node, value)?;
            let far = begun.go_on(node, arrivals)?;
            arriving.insert(node.id.clone(), begun);
            Ok(far)
        })
        .await?;
    while !nodes.is_interrupted() {
        let half = || those(&nodes.nodes, &arriving).filter(|(_, it)| it.at.is_none());
        let Some(offset) = half().map(|(_, it)| it.have).min() else {
            break;
        };
        let wanting = half().filter(|(_, it)| it.have < offset + PIECE);
        let wanting = wanting.map(|(node, _)| node.clone()).collect();
        nodes
            .step(step("piece", offset), wanting, &mut |node, value| {
                let it = arriving.get_mut(&node.id).context("it was not begun")?;
                it.take(node, arrivals, offset, &value)?;
                it.go_on(node, arrivals)
            })
            .await?;
    }
    let all = nodes.nodes.clone();
    nodes
        .step(step("finish", 0), all, &mut |node, _| {
            let it = arriving.get(&node.id);
            Ok(Done::Over(it.and_then(|it| it.at.clone())))
        })
        .await
}

impl Arriving {
    /// A piece of the copy.
    fn take(
        &mut self,
        node: &Target,
        arrivals: &Arrivals,
        offset: u64,
        value: &Map<String, Value>,
    ) -> Result<()> {
        let end = (offset + PIECE).min(self.copy.bytes);
        let data = value.get("data").and_then(Value::as_str);
        let data = data.and_then(|data| STANDARD.decode(data).ok());
        let data = data.filter(|data| data.len() as u64 == end.saturating_sub(offset));
        let data =
            data.context("the node sent something else than the piece that was asked for")?;
        let part = arrivals.part(node, &self.copy);
        let file = OpenOptions::new().write(true).open(&part);
        let written = file.and_then(|file| file.write_all_at(&data, offset));
        written.with_context(|| format!("writing {}", part.display()))?;
        self.have = end;
        Ok(())
    }

    /// Puts it to its place if it is whole.
    fn go_on(&mut self, node: &Target, arrivals: &Arrivals) -> Result<Done> {
        if self.have >= self.copy.bytes {
            self.at = Some(arrivals.place(node, &self.copy)?);
        }
        Ok(Done::Far(
            self.have as f64 * 100.0 / self.copy.bytes.max(1) as f64,
        ))
    }
}

impl Arrivals {
    fn in_dir(dir: &Path, path: &str, name: &Path) -> Result<Self> {
        let making = || format!("making the folder {}", dir.display());
        fs::create_dir_all(dir).with_context(making)?;
        let key = protocol::content_of_bytes(path.as_bytes());
        let parts = dir.join(format!(".ur-get-{}", key.get(..16).unwrap_or(&key)));
        match DirBuilder::new().mode(0o700).create(&parts) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("making {}", parts.display()))?,
        }
        // Any user may have made it, where all may write.
        let own = fs::symlink_metadata(&parts)?;
        let is_own = own.is_dir() && own.uid() == rustix::process::geteuid().as_raw();
        ensure!(
            is_own,
            "{} is no folder of ours: remove it",
            parts.display()
        );
        let id = id_in(&parts)?;
        let (dir, name) = (dir.to_owned(), name.to_owned());
        Ok(Self {
            dir,
            parts,
            id,
            name,
        })
    }

    fn part(&self, node: &Target, copy: &RemoteCopy) -> PathBuf {
        self.parts.join(format!("{}-{}", node.id, copy.sha256))
    }

    fn begin(&self, node: &Target, value: Map<String, Value>) -> Result<Arriving> {
        let copy: RemoteCopy = serde_json::from_value(Value::Object(value))
            .context("what the node says of its copy is not understood")?;
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(
            is_digest(&copy.sha256),
            "the node gives no digest of its copy"
        );
        ensure!(
            copy.bytes <= LIMIT,
            "the node has {} bytes of at most {LIMIT}",
            copy.bytes
        );
        let part = self.part(node, &copy);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&part);
        let file = file.with_context(|| format!("making {}", part.display()))?;
        let have = file.metadata()?.len().min(copy.bytes);
        Ok(Arriving {
            copy,
            have,
            at: None,
        })
    }

    /// Compares it, and puts it where it belongs: as a whole. What an earlier one has put there is replaced.
    fn place(&self, node: &Target, copy: &RemoteCopy) -> Result<String> {
        let part = self.part(node, copy);
        let mut file = File::open(&part)?;
        let real = digest(&mut file)?;
        if real != (copy.sha256.clone(), copy.bytes) {
            fs::remove_file(&part)?;
            bail!(
                "what has arrived is not what the node has (sha256 {}): get it again",
                real.0
            );
        }
        let home = self.dir.join(file_name(node));
        fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
        let place = home.join(&self.name);
        let shown = place.display().to_string();
        if copy.kind == Kind::File {
            let mode = u32::from_str_radix(&copy.mode, 8).unwrap_or(0o600);
            finish_file(&file, mode, time_of(u64::try_from(copy.mtime).unwrap_or(0)))?;
            fs::rename(&part, &place).with_context(|| format!("renaming to {shown}"))?;
            return Ok(shown);
        }
        let fresh = home.join(".ur-get");
        let remove = || match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        remove()?;
        let content = std::io::Seek::rewind(&mut file).map(|()| file)?;
        let placed = unpack(content, &fresh, LIMIT)
            .and_then(|left_out| replace(&fresh, &place).map(|()| left_out));
        remove()?;
        fs::remove_file(&part)?;
        Ok(match placed.context("unpacking its archive")? {
            0 => shown,
            count => {
                format!("{shown} ({count} links that lead out of it, or devices, are left out)")
            }
        })
    }

    /// Nothing is left of what has arrived whole.
    fn end(&self) {
        let parts = fs::read_dir(&self.parts).map(Iterator::count);
        if parts.is_ok_and(|count| count == 1) {
            // What stays is removed by the next one.
            drop(fs::remove_dir_all(&self.parts));
        }
    }
}

/// Of an interrupted `ur get`, whose copies the nodes still have; else a new one, and nothing of the old one is left.
fn id_in(parts: &Path) -> Result<String> {
    let path = parts.join("id");
    let age = fs::metadata(&path).and_then(|it| it.modified());
    let age = age
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age < COPY_LASTS)
        && let Ok(id) = fs::read_to_string(&path)
        && uuid::Uuid::parse_str(&id).is_ok()
    {
        return Ok(id);
    }
    for old in fs::read_dir(parts)? {
        fs::remove_file(old?.path())?;
    }
    let id = uuid::Uuid::new_v4().to_string();
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(&path)?;
    file.write_all(id.as_bytes())?;
    Ok(id)
}

/// Moves the one folder in `fresh` to its place. The old one there goes into `fresh`, which is removed.
fn replace(fresh: &Path, place: &Path) -> Result<()> {
    let entries = fs::read_dir(fresh)?.collect::<std::io::Result<Vec<_>>>()?;
    let [folder] = entries.as_slice() else {
        bail!("there is not one folder in it, but {}", entries.len());
    };
    ensure!(folder.file_type()?.is_dir(), "there is no folder in it");
    if fs::symlink_metadata(place).is_ok_and(|there| there.is_dir()) {
        fs::rename(place, fresh.join(".old"))?;
    }
    let moving = || format!("renaming to {}", place.display());
    fs::rename(folder.path(), place).with_context(moving)
}
