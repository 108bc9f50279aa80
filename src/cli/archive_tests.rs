//! Tests of archives: folders come out as they went in, and a hostile archive writes nothing outside its folder.

use super::*;
use std::io::Write;

const LIMIT: u64 = 1 << 20;

/// An archive with names that this side's packing would never write.
fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (kind, name, text) in entries {
        let mut header = Header::new_gnu();
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if is_link {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        let data = if is_link { "" } else { text };
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        header.set_size(data.len() as u64);
        header.set_cksum();
        archive.append(&header, data.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn unpacked(entries: &[(EntryType, &str, &str)]) -> (tempfile::TempDir, Result<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let left_out = unpack(&*archive(entries), &dir.path().join("in"), LIMIT);
    (dir, left_out)
}

#[test]
fn what_was_packed_is_unpacked_with_modes_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("conf");
    fs::create_dir_all(conf.join("sub")).unwrap();
    let mut file = File::create(conf.join("sub/a")).unwrap();
    file.write_all(b"text").unwrap();
    finish_file(&file, 0o640, time_of(1_000_000_000)).unwrap();
    symlink("sub/a", conf.join("link")).unwrap();
    let package = Package::of(std::slice::from_ref(&conf), None).unwrap();
    assert_eq!(
        (&*package.names, package.file),
        (&["conf/".to_owned()][..], None)
    );
    let again = Package::of(std::slice::from_ref(&conf), None).unwrap();
    assert_eq!(again.sha256, package.sha256);
    let mut content = package.content;
    content.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(unpack(content, &dir.path().join("in"), LIMIT).unwrap(), 0);
    let metadata = fs::metadata(dir.path().join("in/conf/sub/a")).unwrap();
    assert_eq!(
        (metadata.mode() & 0o7777, metadata.mtime()),
        (0o640, 1_000_000_000)
    );
    assert_eq!(fs::read(dir.path().join("in/conf/link")).unwrap(), b"text");
}

#[test]
fn one_file_goes_as_it_is_and_what_is_too_much_is_refused_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    File::create(&path).unwrap().write_all(b"text").unwrap();
    let package = Package::of(std::slice::from_ref(&path), Some(4)).unwrap();
    assert_eq!((package.bytes, package.names), (4, vec!["x".to_owned()]));
    assert!(package.file.is_some() && package.sha256.starts_with("982d9e3eb996f559"));
    let of = |paths: &[PathBuf]| Package::of(paths, Some(3)).err().unwrap().to_string();
    assert!(of(std::slice::from_ref(&path)).contains("--via http"));
    assert!(of(&[path.clone(), path]).contains("named x"));
}

#[test]
fn a_name_that_leads_out_is_refused() {
    for name in ["/etc/x", "../x", "a/../../x"] {
        let (dir, unpacked) = unpacked(&[(EntryType::Regular, name, "x")]);
        let error = unpacked.unwrap_err().to_string();
        assert!(error.contains("out of its folder"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    let hard = [(EntryType::Link, "x", "/etc/passwd")];
    assert!(unpacked(&hard).1.is_err());
}

#[test]
fn no_link_leads_out_and_none_is_written_through() {
    let (_dir, count) = unpacked(&[
        (EntryType::Symlink, "a", "/etc"),
        (EntryType::Symlink, "b", ".."),
        (EntryType::Symlink, "c/d", "../e"),
        (EntryType::Symlink, "x", "."),
        (EntryType::Symlink, "y", "x/.."),
        (EntryType::Char, "z", ""),
    ]);
    assert_eq!(count.unwrap(), 4);
    let through = [
        (EntryType::Symlink, "a", "b"),
        (EntryType::Regular, "a/x", "x"),
    ];
    let (dir, refused) = unpacked(&through);
    assert!(refused.is_err() && !dir.path().join("in/b").exists());
    // Where it would be made, its way up is shorter than by its name.
    let (dir, count) = unpacked(&[
        (EntryType::Directory, "a/b", ""),
        (EntryType::Symlink, "a/b/up", "../.."),
        (EntryType::Symlink, "a/b/up/out", "../../../etc"),
    ]);
    assert_eq!(count.unwrap(), 1);
    assert!(!dir.path().join("in/out").is_symlink());
    let twice = [
        (EntryType::Regular, "a", "1"),
        (EntryType::Regular, "a", "2"),
    ];
    assert!(unpacked(&twice).1.is_err());
}

#[test]
fn bits_that_lend_rights_are_taken_away_and_size_is_bounded() {
    let (dir, _) = unpacked(&[(EntryType::Regular, "a", "x"), (EntryType::Link, "b", "a")]);
    let mode = fs::metadata(dir.path().join("in/b")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o755);
    let large = archive(&[(EntryType::Regular, "a", &"x".repeat(2000))]);
    let error = unpack(&*large, &dir.path().join("on"), 1000).unwrap_err();
    assert!(error.to_string().contains("more than 1000"), "{error}");
    // More folders than a disk has room for, in few bytes.
    let deep = "d/".repeat(45);
    let names: Vec<String> = (0..MAX_NAMES / 45)
        .map(|i| format!("{i}/{deep}x"))
        .collect();
    let bomb: Vec<_> = names
        .iter()
        .map(|name| (EntryType::Block, name.as_str(), ""))
        .collect();
    let error = unpack(&*archive(&bomb), &dir.path().join("deep"), 1 << 30).unwrap_err();
    assert!(error.to_string().contains("names of files"), "{error}");
    let half = &large[..1000];
    assert!(unpack(half, &dir.path().join("half"), LIMIT).is_err());
}
