//! `ur put`, `ur get` and `--out`: files to a real node and back.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::Vhost;
use crate::support::fake_nodes::{FakeNodes, Request, modern};
use crate::support::operator::Ur;
use crate::support::operator_home::Desk;

/// More than one piece has, and no text.
const BYTES: usize = 5_000_000;

/// A folder with a large file in it that is `bytes[0]` to begin with.
fn folder(at: &Path) -> Vec<u8> {
    fs::create_dir_all(at.join("sub")).expect("a folder of the test");
    let bytes: Vec<u8> = (0..BYTES).map(|i| (i * i / 7) as u8).collect();
    let mut file = File::create(at.join("sub/large")).expect("a folder of the test");
    file.write_all(&bytes).expect("a folder of the test");
    file.set_permissions(Permissions::from_mode(0o751))
        .expect("a folder of the test");
    symlink("sub/large", at.join("link")).expect("a folder of the test");
    bytes
}

fn hidden(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).expect("a folder of the test").flatten();
    let names = entries.map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .count()
}

#[test]
fn a_folder_goes_to_a_node_and_comes_back_as_it_was() {
    let desk = Desk::new();
    let (home, place) = (desk.home.path(), desk.node.agent.dir().join("place"));
    let place = place.to_str().unwrap();
    let bytes = folder(&home.join("conf"));
    let said = desk.ur(&["put", "-a", "conf", place]);
    said.is(0, &["testnode  {\"bytes\":", "1 node: 1 ok"]);
    assert_eq!(fs::read(format!("{place}/sub/large")).unwrap(), bytes);
    assert_eq!(desk.requests(), 4, "begin, two pieces, finish");
    let said = desk.ur(&["get", "-a", place, "came"]);
    said.is(0, &["testnode  came/testnode/place"]);
    let came = home.join("came/testnode/place");
    let metadata = fs::metadata(came.join("link")).unwrap();
    let sent = fs::metadata(home.join("conf/sub/large")).unwrap();
    assert_eq!(fs::read(came.join("sub/large")).unwrap(), bytes);
    assert_eq!(
        (metadata.mode(), metadata.mtime()),
        (sent.mode(), sent.mtime())
    );
    assert_eq!(
        hidden(desk.node.agent.dir()) + hidden(&home.join("came")),
        0
    );
}

#[test]
fn what_was_interrupted_is_gone_on_with_and_what_cannot_be_put_is_refused_before() {
    let desk = Desk::new();
    let (home, there) = (desk.home.path(), desk.node.agent.dir());
    let bytes = folder(&home.join("conf"));
    let (file, place) = ("conf/sub/large", there.join("new"));
    let dest = place.to_str().unwrap();
    // As an interrupted one leaves it.
    let words = ["step=begin", "names=large", "bytes=5000000", "mode=751"];
    let sum = desk.ur(&[
        "exec",
        "-a",
        &format!("sha256sum {}", home.join(file).display()),
    ]);
    let sum = sum.out.split_whitespace().nth(1).unwrap().to_owned();
    let (dest_is, sum_is) = (format!("dest={dest}"), format!("sha256={sum}"));
    desk.ur(&[&["run", "-a", "file::put", &dest_is, &sum_is], &words[..]].concat())
        .is(0, &["{\"have\":0}"]);
    let entries = fs::read_dir(there).unwrap().flatten();
    let half = entries
        .map(|it| it.path())
        .find(|path| path.join("blob").exists())
        .unwrap();
    let mut blob = File::options()
        .append(true)
        .open(half.join("blob"))
        .unwrap();
    blob.write_all(&bytes[..BYTES - 1000]).unwrap();
    let before = desk.requests();
    desk.ur(&["put", "-a", file, dest]).is(0, &["1 ok"]);
    assert_eq!(desk.requests() - before, 3, "begin, a piece, finish");
    assert_eq!(fs::read(&place).unwrap(), bytes);
    assert!(!half.exists());

    symlink(dest, there.join("link")).unwrap();
    let link = there.join("link");
    let said = desk.ur(&["put", "-a", file, link.to_str().unwrap()]);
    said.is(3, &["is a symbolic link", "(file/symlink)"]);
    desk.ur(&["put", "-a", file, "relative"])
        .is(2, &["absolute"]);
    let sparse = File::create(home.join("huge")).unwrap();
    sparse.set_len(256_000_001).unwrap();
    let before = desk.requests();
    desk.ur(&["put", "-a", "huge", dest])
        .is(2, &["256000000 at most", "--via http"]);
    assert_eq!(desk.requests(), before);
}

#[test]
fn nodes_fetch_from_this_machine_by_http() {
    let desk = Desk::new();
    let bytes = folder(&desk.home.path().join("conf"));
    let place = desk.node.agent.dir().join("place");
    let dest = place.to_str().unwrap();
    let put = ["put", "-a", "--via", "http=127.0.0.1", "conf", dest];
    desk.ur(&put).is(0, &["1 ok"]);
    assert_eq!(fs::read(place.join("sub/large")).unwrap(), bytes);
    assert_eq!(desk.requests(), 1);
}

/// What a shell makes of the folder `logs`, and its digest.
fn sent(dir: &Path, archive: &str) -> (Vec<u8>, String) {
    let make = format!(
        "mkdir -p logs && echo text >logs/messages && {archive} >out && sha256sum out | cut -c -64"
    );
    let sh = Command::new("sh")
        .args(["-c", &make])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn();
    let sh = sh.and_then(std::process::Child::wait_with_output);
    let digest = String::from_utf8(sh.expect("a shell").stdout).expect("text");
    (
        fs::read(dir.join("out")).expect("an archive"),
        digest.trim().to_owned(),
    )
}

#[test]
fn what_a_node_sends_stays_in_its_folder_and_spoils_no_other_nodes() {
    let (vhost, home) = (Vhost::new(), TempDir::new().unwrap());
    let dir = home.path();
    let good = sent(dir, "tar -c logs");
    let climbs = sent(dir, "tar -cP --transform 's,^logs,../../logs,' logs");
    let two = sent(dir, "mkdir -p other && tar -c logs other");
    let answer = move |_: usize, request: &Request| {
        let is_begin = request.body["env"]["PT_step"] == "begin";
        let (bytes, digest) = match request.node.as_str() {
            "climber" => &climbs,
            "two" => &two,
            _ => &good,
        };
        let data = match request.node.as_str() {
            "forger" => vec![b'x'; bytes.len()],
            "long" => bytes.repeat(2),
            _ => bytes.clone(),
        };
        let size = match request.node.as_str() {
            "huge" => json!(1_000_000_000_000_u64),
            _ => json!(bytes.len()),
        };
        let result = match is_begin {
            true => {
                json!({"kind": "folder", "bytes": size, "sha256": digest, "mode": "755", "mtime": -1})
            }
            false => json!({"data": STANDARD.encode(data)}),
        };
        let reply = json!({"exit_status": 0, "stdout": result.to_string(), "stderr": "", "name": "file::get"});
        vec![("execute-reply", reply)]
    };
    let names = ["honest", "climber", "two", "forger", "long", "huge"];
    let mut nodes: Vec<Value> = names.map(modern).into();
    nodes.push(modern("other"));
    nodes[6]["Hostname"] = json!("../honest");
    let _nodes = FakeNodes::start(&vhost.url, nodes, true, answer);
    let came = dir.join("a/b/came");
    let came_is = came.to_str().unwrap();
    let said = Ur::start(&vhost.url, dir, &["get", "-a", "/var/logs", came_is]).end();
    let all = format!("{}{}", said.out, said.err);
    for words in [
        "out of its folder",
        "not one folder",
        "not what the node has",
        "something else than the piece",
        "1000000000000 bytes",
        "2 ok",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
    assert_eq!(said.exit, 3);
    let text = |node: &str| fs::read_to_string(came.join(node).join("logs/messages"));
    assert_eq!(text("honest").unwrap(), "text\n");
    assert_eq!(text("%2E.%2Fhonest").unwrap(), "text\n");
    assert!(!dir.join("a/logs").exists() && !dir.join("a/b/logs").exists());
    assert!(text("climber").is_err() && text("forger").is_err());
}

#[test]
fn what_each_node_prints_is_in_files_of_its_own() {
    let desk = Desk::new();
    let said = desk.ur(&["exec", "-a", "--out", "out", "echo a; echo b >&2; exit 7"]);
    said.is(3, &["=== testnode: exit 7"]);
    let said = desk.ur(&["exec", "-a", "--out", "out", "printf '\\377'; echo b >&2"]);
    assert_eq!(said.exits(0), "");
    let read =
        |kind: &str| fs::read(desk.home.path().join(format!("out/testnode.{kind}"))).unwrap();
    assert_eq!(
        (read("stdout"), read("stderr")),
        (vec![0xff], b"b\n".to_vec())
    );
    let json: Value = serde_json::from_slice(&read("json")).unwrap();
    assert_eq!(json["result"]["exit_status"], 0);
}
