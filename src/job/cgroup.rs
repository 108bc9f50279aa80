//! A cgroup for one job, where the node lets us have one (cgroup v2, writable): the surest way to
//! signal every process of a job at once, whatever it forked meanwhile.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::Pid;

use protocol::RequestId;

/// Beneath our own cgroup, so that systemd's limits for the agent hold for its jobs too.
pub(super) struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// `None` where there is no cgroup v2 or it is not ours to write. Nothing depends on it: the
    /// supervisor finds its descendants without.
    pub(super) fn create(id: &RequestId) -> Option<Self> {
        let dir = own()?.join(name(id));
        // Left over from an earlier job of this id, it would hold that job's daemons.
        fs::create_dir(&dir).ok()?;
        Some(Self { dir })
    }

    /// That of a job that runs.
    pub(super) fn find(id: &RequestId) -> Option<Self> {
        let dir = own()?.join(name(id));
        dir.is_dir().then_some(Self { dir })
    }

    /// By which a process can be born into it.
    pub(super) fn open(&self) -> Option<File> {
        File::open(&self.dir).ok()
    }

    pub(super) fn processes(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        text.lines()
            .filter_map(|line| Pid::from_raw(line.parse().ok()?))
            .collect()
    }

    /// SIGKILL to all at once. Kernels before 5.14 do not know how; their processes are killed one
    /// by one.
    pub(super) fn kill(&self) {
        if let Ok(mut file) = File::options()
            .write(true)
            .open(self.dir.join("cgroup.kill"))
        {
            std::io::Write::write_all(&mut file, b"1").ok();
        }
    }
}

impl Drop for Cgroup {
    /// Stays as long as a daemon that the job left behind lives in it.
    fn drop(&mut self) {
        fs::remove_dir(&self.dir).ok();
    }
}

/// Removes what the cgroup of a job may have stayed for: a daemon, which has ended since.
pub(super) fn forget(id: &RequestId) {
    if let Some(dir) = own() {
        fs::remove_dir(dir.join(name(id))).ok();
    }
}

fn name(id: &RequestId) -> String {
    format!("ur-job-{id}")
}

/// That of this process, which stays where it is put.
pub(super) fn own() -> Option<&'static Path> {
    static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Some(mount_point(&mounts)?.join(path))
    });
    own.as_deref()
}

/// Field 5 of the line whose type, after the lone dash, is cgroup2 (proc(5)).
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let is_v2 = source.split(' ').next() == Some("cgroup2");
        is_v2.then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_version_is_found_beside_the_first() {
        let mountinfo = "30 22 0:26 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro\n\
            31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            32 30 0:28 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n";
        let found = mount_point(mountinfo);
        assert_eq!(found, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("30 22 0:26 / / rw - ext4 /dev/sda rw"), None);
    }
}
