//! Archives: local files and folders as one tar archive, and an archive that a node has sent, unpacked so that nothing
//! in it gets out of its folder.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tar::{Builder, Entry, EntryType, Header};

use crate::exit::Usage;
use protocol::hexadecimal;

/// Names in the paths of an archive that are unpacked: each may be a file or folder on our disk.
const MAX_NAMES: usize = 1_000_000;

/// What is to be sent: a file as it is, or an archive of several, or of folders.
pub(crate) struct Package {
    pub(crate) content: File,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Bytes that are unpacked from it besides.
    pub(crate) room: u64,
    /// What is in it, folders with a / at their end.
    pub(crate) names: Vec<String>,
    /// Mode and time of the file, if it is one.
    pub(crate) file: Option<(u32, i64)>,
    stamp: Stamp,
}

/// Size and time of the content: they change when it is written to.
type Stamp = (u64, SystemTime);

/// A part of a folder, and its path in the archive.
struct Part {
    path: PathBuf,
    name: PathBuf,
    metadata: fs::Metadata,
}

impl Package {
    /// Fails before anything is copied if there are more than `limit` bytes.
    pub(crate) fn of(paths: &[PathBuf], limit: Option<u64>) -> Result<Self> {
        let mut parts = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for path in paths {
            let name = own_name(path)?;
            // What is named is meant; only links within a folder stay links.
            let metadata = fs::metadata(path).with_context(|| format!("{}", path.display()))?;
            let slash = if metadata.is_dir() { "/" } else { "" };
            if names
                .iter()
                .any(|known| known.trim_end_matches('/') == name)
            {
                return Err(Usage(format!("two of the files are named {name}")).into());
            }
            add_parts(&mut parts, path, Path::new(&name), metadata)?;
            names.push(format!("{name}{slash}"));
        }
        let room = parts.iter().map(|part| part.metadata.len()).sum();
        refuse_above(limit, room)?;
        let package = match parts.as_slice() {
            [file] if file.metadata.is_file() => Self::of_file(file, names)?,
            parts => Self::of_archive(parts, names, room)?,
        };
        // An archive has more than its files, and a file of /proc more than it says.
        refuse_above(limit, package.bytes)?;
        Ok(package)
    }

    /// Whether it is still what it was when its digest was made.
    pub(crate) fn is_unchanged(&self) -> io::Result<bool> {
        Ok(stamp(&self.content)? == self.stamp)
    }

    fn of_file(part: &Part, names: Vec<String>) -> Result<Self> {
        let mut content =
            File::open(&part.path).with_context(|| format!("opening {}", part.path.display()))?;
        let stamp = stamp(&content)?;
        let (sha256, bytes) = digest(&mut content)?;
        let file = Some((part.metadata.mode() & 0o7777, part.metadata.mtime()));
        Ok(Self {
            content,
            bytes,
            sha256,
            room: 0,
            names,
            file,
            stamp,
        })
    }

    /// The same files make the same archive each time, so that one that has come half is gone on with.
    fn of_archive(parts: &[Part], names: Vec<String>, room: u64) -> Result<Self> {
        let mut archive = Builder::new(tempfile::tempfile().context("making a temporary file")?);
        for part in parts {
            let added = part.add_to(&mut archive);
            added.with_context(|| format!("packing {}", part.path.display()))?;
        }
        let mut content = archive.into_inner()?;
        let (sha256, bytes) = digest(&mut content)?;
        let stamp = stamp(&content)?;
        Ok(Self {
            content,
            bytes,
            sha256,
            room,
            names,
            file: None,
            stamp,
        })
    }
}

fn refuse_above(limit: Option<u64>, bytes: u64) -> Result<()> {
    let Some(limit) = limit.filter(|&limit| limit < bytes) else {
        return Ok(());
    };
    Err(Usage(format!(
        "these are {bytes} bytes, of which {limit} at most go to a node over the broker: give --via http"
    ))
    .into())
}

fn stamp(content: &File) -> io::Result<Stamp> {
    let metadata = content.metadata()?;
    Ok((metadata.len(), metadata.modified()?))
}

impl Part {
    fn add_to(&self, archive: &mut Builder<File>) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(self.metadata.mode() & 0o7777);
        header.set_mtime(u64::try_from(self.metadata.mtime()).unwrap_or(0));
        header.set_size(0);
        if self.metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let to = fs::read_link(&self.path)?;
            return archive.append_link(&mut header, &self.name, to);
        }
        if self.metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            return archive.append_data(&mut header, &self.name, io::empty());
        }
        let file = File::open(&self.path)?;
        let size = file.metadata()?.len();
        header.set_size(size);
        // As much as its header says: what grows meanwhile is cut, what shrinks would spoil the archive.
        let mut content = file.take(size);
        archive.append_data(&mut header, &self.name, &mut content)?;
        match content.limit() {
            0 => Ok(()),
            _ => Err(io::Error::other("it was shortened meanwhile")),
        }
    }
}

fn own_name(path: &Path) -> Result<String> {
    let whole = match path.file_name() {
        Some(_) => path.to_owned(),
        None => fs::canonicalize(path).with_context(|| format!("{}", path.display()))?,
    };
    let name = whole.file_name().and_then(|name| name.to_str());
    match name {
        Some(name) if !name.contains('\n') => Ok(name.to_owned()),
        _ => Err(Usage(format!("{path:?} has no name that can be sent")).into()),
    }
}

fn add_parts(
    parts: &mut Vec<Part>,
    path: &Path,
    name: &Path,
    metadata: fs::Metadata,
) -> Result<()> {
    let kind = metadata.file_type();
    if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
        let what = "is neither a file nor a folder nor a link";
        return Err(Usage(format!("{} {what}", path.display())).into());
    }
    parts.push(Part {
        path: path.to_owned(),
        name: name.to_owned(),
        metadata,
    });
    if !kind.is_dir() {
        return Ok(());
    }
    let reading = || format!("reading {}", path.display());
    let entries = fs::read_dir(path).with_context(reading)?;
    let mut entries = entries
        .collect::<io::Result<Vec<_>>>()
        .with_context(reading)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata().with_context(reading)?;
        let name = name.join(entry.file_name());
        add_parts(parts, &entry.path(), &name, metadata)?;
    }
    Ok(())
}

/// The digest of a file from its beginning, and its size.
pub(crate) fn digest(file: &mut File) -> Result<(String, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
    Ok((hexadecimal(&hasher.finalize()), bytes))
}

/// Unpacks an archive of a stranger into a folder in which nothing is yet. Returns how many links and devices were left
/// out: links that lead out of the folder, or may.
pub(crate) fn unpack(archive: impl Read, into: &Path, limit: u64) -> Result<usize> {
    let mut archive = tar::Archive::new(archive.take(limit.saturating_add(1)));
    let (mut names, mut bytes, mut left_out) = (0, 0_u64, 0);
    let (mut links, mut folders) = (Vec::new(), Vec::new());
    for entry in archive.entries()? {
        let mut entry = entry.context("it is no whole tar archive")?;
        bytes = bytes.saturating_add(entry.size());
        ensure!(bytes <= limit, "it unpacks to more than {limit} bytes");
        let name = inner_path(&entry.path()?)?;
        names += name.components().count().max(1);
        ensure!(
            names <= MAX_NAMES,
            "it has more than {MAX_NAMES} names of files and folders"
        );
        let path = into.join(&name);
        match entry.header().entry_type() {
            EntryType::Directory => {
                make_folder(&path)?;
                folders.push((path, mode(&entry), time(&entry)));
            }
            EntryType::Regular | EntryType::Continuous => write_file(&mut entry, &path)?,
            EntryType::Link => {
                let to = entry.link_name()?.context("it has a link to nothing")?;
                make_folder(path.parent().unwrap_or(into))?;
                // Links are made last, so this leads to what was unpacked.
                fs::hard_link(into.join(inner_path(&to)?), &path)
                    .with_context(|| format!("linking {}", name.display()))?;
            }
            EntryType::Symlink => match entry.link_name()? {
                Some(to) if stays_inside(&name, &to) => links.push((name, to.into_owned())),
                _ => left_out += 1,
            },
            EntryType::XGlobalHeader => {}
            _ => left_out += 1,
        }
    }
    for (name, to) in links {
        let path = into.join(&name);
        // A link on the way to it has it lead from elsewhere than its name says.
        if name
            .ancestors()
            .skip(1)
            .any(|above| into.join(above).is_symlink())
        {
            left_out += 1;
            continue;
        }
        make_folder(path.parent().unwrap_or(into))?;
        symlink(to, &path).with_context(|| format!("linking {}", path.display()))?;
    }
    // The inner ones first: what is made in a folder changes its time.
    for (path, mode, time) in folders.iter().rev() {
        File::open(path)?.set_times(*time)?;
        fs::set_permissions(path, Permissions::from_mode(mode | 0o700))?;
    }
    Ok(left_out)
}

/// A path without an absolute beginning and without `..`.
fn inner_path(path: &Path) -> Result<PathBuf> {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => inner.push(part),
            Component::CurDir => {}
            _ => bail!("it has the name {path:?}, which leads out of its folder"),
        }
    }
    Ok(inner)
}

/// Whether a link leads to a place in the folder, whatever other links there are in it: `..` may only stand at its
/// beginning, where what it leaves is a real folder.
fn stays_inside(name: &Path, to: &Path) -> bool {
    let depth = name.components().count().saturating_sub(1);
    let ups = to
        .components()
        .take_while(|part| *part == Component::ParentDir);
    let ups = ups.count();
    let mut rest = to.components().skip(ups);
    ups <= depth && rest.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn make_folder(path: &Path) -> Result<()> {
    let mut folder = DirBuilder::new();
    let made = folder.recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making the folder {}", path.display()))
}

fn write_file(entry: &mut Entry<'_, impl Read>, path: &Path) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    make_folder(path.parent().unwrap_or(path))?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(writing)?;
    let size = entry.size();
    let copied = io::copy(entry, &mut file).with_context(writing)?;
    ensure!(copied == size, "it ends in the middle of a file");
    finish_file(&file, mode(entry), time(entry)).with_context(writing)
}

/// Gives a file its mode, without the bits that lend its owner's rights, and its time.
pub(crate) fn finish_file(file: &File, mode: u32, time: FileTimes) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode & 0o777))?;
    file.set_times(time)
}

fn mode(entry: &Entry<'_, impl Read>) -> u32 {
    entry.header().mode().unwrap_or(0o600) & 0o777
}

fn time(entry: &Entry<'_, impl Read>) -> FileTimes {
    time_of(entry.header().mtime().unwrap_or(0))
}

pub(crate) fn time_of(seconds: u64) -> FileTimes {
    // What no clock shows is left out.
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    time.map_or_else(FileTimes::new, |time| FileTimes::new().set_modified(time))
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
