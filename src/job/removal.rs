//! Removal of directories, and their size, beside the agent's loop: a script may leave 300,000 files, or a tree
//! that is deeper than any path.
//!
//! What is to be removed is renamed into `.gone` of its tree, and so is no job any more at once. Neither links
//! nor mounts are followed: a directory that is not empty is not entered, but renamed into `.gone` itself. The
//! kernel refuses that for one that something is mounted at, and a deep tree takes no more than a flat one.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, renameat, statat, unlinkat};
use rustix::io::Errno;

use protocol::RequestId;

use super::work_dir::{open_beneath, open_directory};

/// Names of `.gone` that are read at a time.
const MAX_NAMES: usize = 1000;
/// How often a directory is emptied that is being written to.
const MAX_PASSES: usize = 3;
/// Entries of one directory that are named where they cannot be removed.
const MAX_TOLD: usize = 3;
/// A script's directories are measured to this depth.
const MAX_DEPTH: usize = 64;
/// What a file takes beside its blocks: in memory, an inode is not for nothing.
const INODE: u64 = 1024;
const STACK: usize = 512 * 1024;

/// What a thread found that removed and measured.
#[derive(Default)]
pub(super) struct Round {
    /// What could not be removed, and why.
    pub(super) left: Vec<(PathBuf, io::Error)>,
    /// Bytes that the scripts of jobs have in their directories.
    pub(super) sizes: HashMap<RequestId, u64>,
}

/// Empties `.gone` of these trees, and measures what these jobs have in the second, in a thread.
pub(super) fn begin(trees: [PathBuf; 2], jobs: Vec<RequestId>) -> io::Result<JoinHandle<Round>> {
    let round = move || {
        let size = |id: RequestId| (id.clone(), size_of(id.as_str(), &trees[1]));
        Round {
            left: trees.iter().flat_map(|tree| empty(&gone(tree))).collect(),
            sizes: jobs.into_iter().map(size).collect(),
        }
    };
    let thread = Builder::new().name("ur-removal".to_owned());
    thread.stack_size(STACK).spawn(round)
}

/// Removes a directory in which a script has run. Returns what is left, and why.
pub fn remove_tree(dir: &Path) -> Vec<(PathBuf, io::Error)> {
    let mut left = empty(dir);
    if left.is_empty()
        && let Err(error) = fs::remove_dir(dir)
    {
        left.push((dir.to_owned(), error));
    }
    left
}

/// Where a tree keeps what is to be removed.
pub(super) fn gone(tree: &Path) -> PathBuf {
    tree.join(".gone")
}

/// Moves `path`, which lies in `tree`, to where it is removed.
pub(super) fn discard(path: &Path, tree: &Path) -> io::Result<()> {
    let gone = gone(tree);
    let to = gone.join(OsStr::from_bytes(
        fresh(path.file_name().unwrap_or_default()).as_bytes(),
    ));
    match fs::rename(path, &to) {
        Err(error) if error.kind() == ErrorKind::NotFound && !gone.exists() => {
            DirBuilder::new().mode(0o700).create(&gone)?;
            fs::rename(path, &to)
        }
        renamed => renamed,
    }
}

/// A name that `.gone` has not, and that tells whose it was.
fn fresh(name: &OsStr) -> CString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    // A request's id has no dots.
    let name = String::from_utf8_lossy(name.as_bytes());
    let id = name.split('.').find(|part| !part.is_empty());
    let id = id.unwrap_or_default();
    let text = format!("{id}.{:x}.{count:x}", now.as_nanos());
    CString::new(text).expect("no name holds a zero")
}

/// Removes all that is in `.gone` of a tree, as far as that can be done.
fn empty(gone: &Path) -> Vec<(PathBuf, io::Error)> {
    let (mut left, mut stuck) = (Vec::new(), HashSet::new());
    let dir = match open_in_place(gone) {
        Ok(dir) => dir,
        Err(error) if error.kind() == ErrorKind::NotFound => return left,
        Err(error) => return vec![(gone.to_owned(), error)],
    };
    loop {
        let names: Vec<CString> = names(&dir)
            .filter(|name| !stuck.contains(name))
            .take(MAX_NAMES)
            .collect();
        if names.is_empty() {
            return left;
        }
        for name in names {
            let failed = remove(&dir, &name);
            if !failed.is_empty() {
                let path = gone.join(OsStr::from_bytes(name.as_bytes()));
                let told = failed.into_iter().take(MAX_TOLD);
                left.extend(told.map(|(of, errno)| (path.join(of), errno.into())));
                stuck.insert(name);
            }
        }
    }
}

/// Not what is mounted over it: a script may have done that to its own directory, with all of `/`.
fn open_in_place(dir: &Path) -> io::Result<OwnedFd> {
    let parent = open_directory(dir.parent().unwrap_or(Path::new("/")))?;
    let name = dir.file_name().unwrap_or_default();
    Ok(open_beneath(parent, name, OFlags::DIRECTORY)?)
}

/// Removes one of the things in `.gone`. Returns which of its entries it could not remove.
fn remove(gone: &OwnedFd, name: &CStr) -> Vec<(PathBuf, Errno)> {
    let whole = |errno| vec![(PathBuf::new(), errno)];
    let dir = match open_beneath(gone, name, OFlags::DIRECTORY | OFlags::NONBLOCK) {
        Ok(dir) => dir,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return unlinkat(gone, name, AtFlags::empty()).map_or_else(whole, |()| Vec::new());
        }
        Err(errno) => return whole(errno),
    };
    for _ in 0..MAX_PASSES {
        let failed = clear(&dir, gone, name);
        match unlinkat(gone, name, AtFlags::REMOVEDIR) {
            Ok(()) => return Vec::new(),
            Err(_) if !failed.is_empty() => return failed,
            // Something is writing to it, or the listing was not whole.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return whole(errno),
        }
    }
    whole(Errno::NOTEMPTY)
}

/// Takes every entry out of `dir`.
fn clear(dir: &OwnedFd, gone: &OwnedFd, name: &CStr) -> Vec<(PathBuf, Errno)> {
    let mut failed = Vec::new();
    for entry in names(dir) {
        let done = match unlinkat(dir, &entry, AtFlags::empty()) {
            Err(Errno::ISDIR) => match unlinkat(dir, &entry, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    renameat(dir, &entry, gone, fresh(OsStr::from_bytes(name.to_bytes())))
                }
                done => done,
            },
            done => done,
        };
        match done {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) if failed.len() < MAX_TOLD => {
                failed.push((OsStr::from_bytes(entry.as_bytes()).into(), errno));
            }
            Err(_) => {}
        }
    }
    failed
}

/// Of a directory, read as they are asked for.
fn names(dir: &OwnedFd) -> impl Iterator<Item = CString> + use<> {
    let entries = Dir::read_from(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_owned());
    names.filter(|name| !matches!(name.to_bytes(), b"." | b".."))
}

/// Bytes of a directory in `tree`, on its file system. One that is not there has none.
fn size_of(name: &str, tree: &Path) -> u64 {
    let tree = open_directory(tree).map_err(|_unreadable| Errno::NOENT);
    match tree.and_then(|tree| open_beneath(tree, name, OFlags::DIRECTORY)) {
        Ok(dir) => size(&dir, MAX_DEPTH),
        Err(_) => 0,
    }
}

fn size(dir: &OwnedFd, depth: usize) -> u64 {
    let mut bytes = INODE;
    for entry in Dir::read_from(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        match (entry.file_type(), name.to_bytes()) {
            (_, b"." | b"..") => {}
            // Not asked for its status, which a file system of the network would have to give.
            (FileType::Directory, _) => {
                let below = open_beneath(dir, name, OFlags::DIRECTORY);
                bytes += below.map_or(INODE, |dir| match depth {
                    0 => INODE,
                    _ => size(&dir, depth - 1),
                });
            }
            _ => {
                let status = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                let blocks = status.map_or(0, |status| status.st_blocks.unsigned_abs());
                bytes += blocks * 512 + INODE;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn make(path: &Path) {
        fs::create_dir_all(path).unwrap();
    }

    #[test]
    fn a_tree_that_is_deeper_than_any_path_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("r1");
        make(&top);
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at: OwnedFd = File::open(&top).unwrap().into();
        let name = "a".repeat(200);
        for _ in 0..300 {
            rustix::fs::mkdirat(&at, &name, rustix::fs::Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, &name, flags, rustix::fs::Mode::empty()).unwrap();
        }
        discard(&top, dir.path()).unwrap();
        assert!(empty(&gone(dir.path())).is_empty());
        assert_eq!(fs::read_dir(gone(dir.path())).unwrap().count(), 0);
    }

    #[test]
    fn files_links_and_pipes_are_removed_and_what_a_link_names_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (top, kept) = (dir.path().join("r1"), dir.path().join("kept"));
        make(&top.join("a/b"));
        make(&kept.join("c"));
        std::os::unix::fs::symlink(&kept, top.join("a/link")).unwrap();
        std::os::unix::fs::symlink(&kept, dir.path().join("top-link")).unwrap();
        File::create(top.join("a/b/file")).unwrap();
        for path in [top, dir.path().join("top-link")] {
            discard(&path, dir.path()).unwrap();
        }
        assert!(empty(&gone(dir.path())).is_empty());
        assert!(kept.join("c").is_dir());
        assert_eq!(fs::read_dir(gone(dir.path())).unwrap().count(), 0);
    }

    /// In a mount namespace of this thread alone, which ends with it.
    fn with_mounts(test: impl FnOnce() + Send + 'static) {
        let test = move || {
            // SAFETY: it changes this thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                return eprintln!("skipped: only root can mount");
            }
            mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE);
            test();
        };
        std::thread::spawn(test).join().unwrap();
    }

    fn mount(source: &CStr, target: &CStr, flags: libc::c_ulong) {
        let none = std::ptr::null();
        // SAFETY: the strings outlive the call, and the other pointers may be null.
        let done =
            unsafe { libc::mount(source.as_ptr(), target.as_ptr(), none, flags, none.cast()) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn what_is_mounted_in_a_tree_is_neither_removed_nor_measured_and_told() {
        with_mounts(|| {
            let dir = tempfile::tempdir().unwrap();
            // On the same file system: its device number is no different.
            let [kept, below, top] =
                ["kept", "r1/work/a/b", "r1"].map(|name| dir.path().join(name));
            make(&below);
            make(&kept);
            let file = File::create(kept.join("file")).unwrap();
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).unwrap();
            let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
            mount(&name(&kept), &name(&below), libc::MS_BIND);
            assert!(below.join("file").exists());
            assert!(size_of("r1", dir.path()) < 1 << 20);
            discard(&top, dir.path()).unwrap();
            let left = empty(&gone(dir.path()));
            assert!(kept.join("file").exists());
            let told: Vec<String> = left
                .iter()
                .map(|(path, error)| format!("{}: {error}", path.display()))
                .collect();
            assert!(
                told.len() == 1 && told[0].contains("/b: ") && told[0].contains("busy"),
                "{told:?}"
            );
            let point = name(&left[0].0);
            // SAFETY: the string outlives the call.
            unsafe { libc::umount2(point.as_ptr(), libc::MNT_DETACH) };
        });
    }

    #[test]
    fn what_a_script_mounts_over_its_own_directory_or_over_all_of_them_is_left() {
        with_mounts(|| {
            let dir = tempfile::tempdir().unwrap();
            let [kept, state, own] = ["kept", "state", "own"].map(|name| dir.path().join(name));
            for path in [&kept.join("sub"), &state, &own] {
                make(path);
            }
            drop(crate::Spool::open(&state).unwrap());
            let work = state.join("work");
            fs::set_permissions(&kept, PermissionsExt::from_mode(0o755)).unwrap();
            let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
            for point in [&work, &own] {
                mount(&name(&kept), &name(point), libc::MS_BIND);
            }
            assert_eq!(remove_tree(&own).len(), 1);
            drop(crate::Spool::open(&state).unwrap());
            assert!(kept.join("sub").is_dir());
            assert_eq!(
                fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
                0o755
            );
            for point in [&work, &own] {
                // SAFETY: the string outlives the call.
                unsafe { libc::umount2(name(point).as_ptr(), libc::MNT_DETACH) };
            }
        });
    }

    #[test]
    fn what_is_measured_is_all_of_a_tree_and_files_without_a_byte_count_too() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("r1/work/a");
        make(&below);
        let file = File::create(below.join("file")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).unwrap();
        (0..100).for_each(|n| drop(File::create(below.join(n.to_string())).unwrap()));
        let size = size_of("r1", dir.path());
        assert!(((1 << 20) + 100 * INODE..1 << 21).contains(&size), "{size}");
        assert_eq!(size_of("none", dir.path()), 0);
    }
}
