//! The usual way without Ur, to compare with: ssh to the node over a connection that is kept open.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

/// A private sshd on loopback with keys of its own; milliseconds for each run of the script.
pub(crate) fn measure(script: &str, count: usize) -> Result<Vec<f64>> {
    let server = Server::start()?;
    if !server.ssh(&["-M", "-N", "-f"]).status()?.success() {
        bail!("ssh could not log in to its own sshd");
    }
    let command = script.lines().last().unwrap_or("true");
    let times = super::timed(count, || {
        let status = server.ssh(&[]).arg(command).status()?;
        if !status.success() {
            bail!("ssh ended with {status}");
        }
        Ok(())
    });
    server.ssh(&["-O", "exit"]).stderr(Stdio::null()).status()?;
    times
}

struct Server {
    daemon: Child,
    port: u16,
    dir: TempDir,
}

impl Server {
    fn start() -> Result<Self> {
        let sshd = Path::new("/usr/sbin/sshd");
        if !sshd.exists() {
            bail!(
                "there is no {}: apt-get install --no-remove openssh-server",
                sshd.display()
            );
        }
        let dir = super::node::Place::Memory.scratch()?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        for key in ["host", "user"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-qN", "", "-t", "ed25519", "-f", &at(key)])
                .status()?;
        }
        fs::copy(at("user.pub"), at("authorized"))?;
        // sshd wants it even where it separates nothing.
        fs::create_dir_all("/run/sshd")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // A shell that sshd starts reads root's .bashrc, and what stands there may take longer than all the
        // rest: with a home that is empty nobody is blamed for it.
        fs::create_dir(at("home"))?;
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nSetEnv HOME={}\n\
             StrictModes no\nUsePAM no\nPidFile none\n",
            at("host"),
            at("authorized"),
            at("home")
        );
        fs::write(at("config"), config)?;
        let mut daemon = Command::new(sshd);
        daemon
            .args(["-D", "-f", &at("config")])
            .stderr(Stdio::null());
        let server = Self {
            daemon: daemon.spawn()?,
            port,
            dir,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > deadline {
                bail!("sshd did not answer within 10 s");
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn ssh(&self, extra: &[&str]) -> Command {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new("ssh");
        command.args([
            "-q",
            "-F",
            "none",
            "-p",
            &self.port.to_string(),
            "-i",
            &at("user"),
        ]);
        command.args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        command
            .args(["-S", &at("control")])
            .args(extra)
            .arg("127.0.0.1");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.daemon.kill().and_then(|()| self.daemon.wait()).ok();
    }
}
