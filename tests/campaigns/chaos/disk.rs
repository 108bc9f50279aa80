//! A small disk that jobs are kept on, and that is full now and then.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::clock::{Clock, between};
use super::journal::Journal;

/// Room for a thousand answered jobs and the waiting ones.
const SIZE: &str = "size=128m";

/// A tmpfs, mounted while this value lives.
pub(crate) struct Disk {
    place: PathBuf,
}

impl Disk {
    /// `None` for those who may not mount.
    pub(crate) fn mount(place: &Path) -> Result<Option<Self>> {
        fs::create_dir(place).with_context(|| format!("making {}", place.display()))?;
        if !rustix::process::geteuid().is_root() {
            eprintln!("chaos: no full disks: only root may mount one");
            return Ok(None);
        }
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", SIZE, "ur-chaos"])
            .arg(place);
        ensure!(
            command.status().context("starting mount")?.success(),
            "mounting {} failed",
            place.display()
        );
        Ok(Some(Self {
            place: place.to_owned(),
        }))
    }

    fn fill(&self) -> Result<()> {
        let path = self.place.join("filler");
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .context("opening the filler")?;
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> Result<()> {
        match fs::remove_file(self.place.join("filler")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing the filler")
            }
            _ => Ok(()),
        }
    }
}

impl Disk {
    /// What would be gone with the mount.
    pub(crate) fn copy_to(&self, place: &Path) -> Result<()> {
        let status = Command::new("cp")
            .arg("-a")
            .arg(&self.place)
            .arg(place)
            .status();
        ensure!(
            status.context("starting cp")?.success(),
            "copying {} failed",
            self.place.display()
        );
        Ok(())
    }
}

impl Drop for Disk {
    /// Lazily: a process that was killed a moment ago may still be there.
    fn drop(&mut self) {
        let status = Command::new("umount")
            .arg("--lazy")
            .arg(&self.place)
            .status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("chaos: could not unmount {}", self.place.display());
        }
    }
}

pub(crate) fn disturb(
    disk: Option<&Disk>,
    clock: &Clock,
    mut rng: Rng,
    journal: &mut Journal,
) -> Result<()> {
    let Some(disk) = disk else {
        return Ok(());
    };
    while clock.is_foul() {
        clock.pause(&mut rng, Duration::from_secs(4), Duration::from_secs(25));
        let time = between(&mut rng, Duration::from_millis(200), Duration::from_secs(4));
        journal.note("disk: full, and free again", format!("for {time:?}"));
        let until = Instant::now() + time;
        // Again and again: what others give up in between is taken too.
        while clock.is_foul() && Instant::now() < until {
            disk.fill()?;
            clock.wait(Duration::from_millis(50));
        }
        disk.free()?;
    }
    Ok(())
}
