//! `--out`: what each node printed, in files of its own. Names of nodes and archives in results come from strangers.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::json::{Form, of_result};
use crate::archive::unpack;
use client::{NodeResult, Target};
use protocol::{RequestId, hexadecimal};
use task::TaskResult;

/// Bytes that an archive in a result may unpack to.
const MAX_UNPACKED: u64 = 512 * 1024 * 1024;

/// The ends of the names of a node's files.
const KINDS: [&str; 3] = ["stdout", "stderr", "json"];

/// The name of a node's file or folder: its host name, with @UUID where another node has the same. No node can choose one
/// that leads elsewhere, or that of another.
pub(crate) fn file_name(target: &Target) -> String {
    let hostname = &*target.hostname;
    let end = hostname
        .rsplit_once('.')
        .map(|(start, end)| (start.len(), end));
    // As a folder it would have the name of a file of another node.
    let kind_at = end.filter(|(_, end)| KINDS.contains(end)).map(|(at, _)| at);
    let mut name = String::new();
    for (at, byte) in hostname.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if is_plain || byte == b'.' && at > 0 && Some(at) != kind_at {
            name.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
            name.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    // A long one is cut, and so may be another's.
    if hostname.contains('…') || name.len() > 100 {
        name.clear();
    }
    match name.is_empty() || target.has_namesake {
        true => format!("{name}@{}", target.id),
        false => name,
    }
}

#[derive(Debug)]
pub(crate) struct OutDir(PathBuf);

impl OutDir {
    pub(crate) fn make(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// `NODE.stdout`, `NODE.stderr`, `NODE.json`; and the archive that is in the result of a task, in `NODE/`.
    pub(super) fn write(&self, result: &NodeResult, request: &RequestId) -> Result<()> {
        let name = file_name(&result.target);
        let mut json = Vec::new();
        Form::write_pretty(&of_result(result, request), &mut json)?;
        let reply = result.reply.as_deref();
        let streams = reply.map(|reply| (reply.stdout_as_bytes(), reply.stderr_as_bytes()));
        let (stdout, stderr) = streams.unwrap_or_default();
        for (kind, bytes) in KINDS.into_iter().zip([stdout, stderr, json]) {
            let path = self.0.join(format!("{name}.{kind}"));
            let file = File::create(&path).and_then(|mut file| file.write_all(&bytes));
            file.with_context(|| format!("writing {}", path.display()))?;
        }
        let value = reply.and_then(TaskResult::of).map(TaskResult::into_json);
        match value {
            Some(value) if value.get("archive").is_some() => self.unpack(&name, &value),
            _ => Ok(()),
        }
    }

    /// What an earlier run has unpacked there is replaced.
    fn unpack(&self, name: &str, value: &Value) -> Result<()> {
        let folder = self.0.join(name);
        let unpacking = || format!("unpacking the archive of {name}");
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let fresh = tempfile::Builder::new()
            .prefix(".ur-out-")
            .tempdir_in(&self.0)?;
        let unpacked = || -> Result<()> {
            let archive = STANDARD.decode(text("archive").unwrap_or_default())?;
            let digest = hexadecimal(&Sha256::digest(&archive));
            ensure!(
                text("sha256").is_none_or(|told| told == digest),
                "it has another sha256 than it says"
            );
            let (archive, into) = (Cursor::new(archive), fresh.path().join("new"));
            match text("format") {
                Some("tar") => unpack(archive, &into, MAX_UNPACKED)?,
                Some("tar.zst") => {
                    let mut tar = zstd::Decoder::new(archive)?;
                    tar.window_log_max(27)?;
                    unpack(tar, &into, MAX_UNPACKED)?
                }
                format => bail!("{format:?} is no format that ur unpacks: tar, tar.zst"),
            };
            if fs::symlink_metadata(&folder).is_ok_and(|there| there.is_dir()) {
                fs::rename(&folder, fresh.path().join("old"))?;
            }
            Ok(fs::rename(into, &folder)?)
        };
        unpacked().with_context(unpacking)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::result;
    use super::*;
    use client::Plain;
    use protocol::Outcome;

    fn named(hostname: &str) -> String {
        let mut target = Target::clone(&result("n", Outcome::NoAnswer, "", "").target);
        target.hostname = Plain::name(hostname);
        file_name(&target)
    }

    #[test]
    fn no_host_name_leads_out_of_the_folder_or_is_another_ones() {
        assert_eq!(named("node-1.example_"), "node-1.example_");
        assert_eq!(named(".."), "%2E.");
        assert_eq!(named("../../etc/cron.d/x"), "%2E.%2F..%2Fetc%2Fcron.d%2Fx");
        assert_ne!(named("a%2Fb"), named("a/b"));
        assert_eq!(named(""), "@uuid-of-n");
        assert_eq!(named(&"x".repeat(300)), "@uuid-of-n");
        assert_eq!(named("uuid-of-n"), "uuid-of-n");
        assert_eq!(named("@uuid-of-n"), "%40uuid-of-n");
        assert_eq!(named("a.b.json"), "a.b%2Ejson");
        assert_eq!(named(".stdout"), "%2Estdout");
    }

    #[test]
    fn a_node_has_its_files_and_the_archive_of_its_result_is_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDir::make(&dir.path().join("out")).unwrap();
        let request = RequestId::parse("r1").unwrap();
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        tar.append_data(&mut header, "logs/kernel", &b"text"[..])
            .unwrap();
        let archive = tar.into_inner().unwrap().finish().unwrap();
        let value = serde_json::json!({"format": "tar.zst", "archive": STANDARD.encode(archive)});
        let mut logs = result(
            "n1",
            Outcome::Exited { status: 0 },
            &value.to_string(),
            "warned\n",
        );
        logs.reply.as_mut().unwrap().name = Some("logs::collect".to_owned());
        for _ in 0..2 {
            out.write(&logs, &request).unwrap();
        }
        let read = |name: &str| fs::read_to_string(out.0.join(name)).unwrap();
        assert_eq!(read("n1/logs/kernel"), "text");
        assert_eq!(
            (read("n1.stdout"), read("n1.stderr")),
            (value.to_string(), "warned\n".to_owned())
        );
        let json: Value = serde_json::from_str(&read("n1.json")).unwrap();
        assert_eq!(json["state"], "exited");
        assert_eq!(fs::read_dir(&out.0).unwrap().count(), 4);
        out.write(&result("n2", Outcome::NotConnected, "", ""), &request)
            .unwrap();
        assert_eq!(read("n2.stdout"), "");
    }
}
