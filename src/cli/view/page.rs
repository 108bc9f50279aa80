//! Pages: what people see of a task's result, by the jq filter in the task's metadata. A result that is megabytes of
//! JSON says nothing to them; `-j` and `-J` have all of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::stderr::tell;
use client::{Filter, outputs_of};
use task::{Task, TaskResult};

/// The filters, by the names of the tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages(BTreeMap<String, Arc<Page>>);

#[derive(Debug)]
struct Page {
    filter: Arc<Filter>,
    /// It did not end once, and is not used any more.
    is_endless: AtomicBool,
}

impl Pages {
    pub(crate) fn of<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> Result<Self> {
        let mut pages = Self::default();
        for task in tasks {
            let name = task.name.to_string();
            if let Some(view) = task.view() {
                let filter = Filter::parse(view);
                let filter = filter.with_context(|| format!("{name}: `extensions.ur.view`"))?;
                let page = Page {
                    filter: Arc::new(filter),
                    is_endless: AtomicBool::new(false),
                };
                pages.0.insert(name, Arc::new(page));
            }
        }
        Ok(pages)
    }

    /// Standard output of a task that has one is not shown line by line.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None` where there is no filter, or it is not for such a result: an error, a text that is no JSON or was cut, the
    /// result of another version.
    pub(super) fn page(&self, task: &str, result: &TaskResult) -> Option<String> {
        let page = self.0.get(task).filter(|_| result.error().is_none())?;
        if page.is_endless.load(Ordering::Relaxed) {
            return None;
        }
        let result = result.clone().into_json();
        if result.get("_output").is_some() {
            return None;
        }
        let Some(outputs) = outputs_of(&page.filter, result) else {
            page.is_endless.store(true, Ordering::Relaxed);
            tell(&format!(
                "ur: the view of {task} does not end, or takes too much memory: results are shown without it"
            ));
            return None;
        };
        let outputs = outputs.ok()?;
        let lines = outputs.iter().map(|output| match output {
            Value::String(text) => format!("{text}\n"),
            other => format!("{other:#}\n"),
        });
        Some(lines.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Outcome, Reply};
    use serde_json::json;
    use task::Library;

    fn pages() -> Pages {
        let (tasks, _) = Library::of(Vec::new()).tasks().unwrap();
        Pages::of(&tasks).unwrap()
    }

    fn page(task: &str, result: &Value) -> Option<String> {
        let mut reply = Reply::of(&Outcome::Exited { status: 0 });
        reply.name = Some(task.to_owned());
        reply.stdout = result.to_string();
        pages().page(task, &TaskResult::of(&reply).unwrap())
    }

    #[test]
    fn a_view_that_does_not_end_is_left_out() {
        let page = Page {
            filter: Arc::new(Filter::parse("def f: f; f").unwrap()),
            is_endless: AtomicBool::new(false),
        };
        let pages = Pages(BTreeMap::from([("a::b".to_owned(), Arc::new(page))]));
        let mut reply = Reply::of(&Outcome::Exited { status: 0 });
        reply.name = Some("a::b".to_owned());
        reply.stdout = "{}".to_owned();
        let result = TaskResult::of(&reply).unwrap();
        assert_eq!(pages.page("a::b", &result), None);
        assert!(pages.0["a::b"].is_endless.load(Ordering::Relaxed));
        assert_eq!(pages.page("a::b", &result), None);
    }

    #[test]
    fn an_archive_is_shown_by_its_names_and_sizes() {
        let result = json!({
            "format": "tar.zst", "bytes": 2048, "sha256": "00ff", "archive": "QUJD".repeat(1000),
            "files": [
                {"item": "kernel", "file": "kernel/dmesg", "verdict": "kept", "bytes": 81234},
                {"item": "bmc", "file": "bmc/sel", "verdict": "missing", "bytes": 0, "remark": "no BMC"},
            ],
        });
        let expected = "\
2 files in 2048 bytes of tar.zst, sha256 00ff
      81234  kept        kernel/dmesg
          0  missing     bmc/sel: no BMC
-J has the archive: .value.archive, base64
";
        assert_eq!(page("logs::collect", &result).unwrap(), expected);
        let failed = json!({"_error": {"msg": "no"}});
        assert_eq!(page("logs::collect", &failed), None);
        assert_eq!(page("disk::erase", &result), None);
        assert_eq!(page("logs::collect", &json!("cut")), None);
    }

    #[test]
    fn an_inventory_is_a_page_whatever_of_it_is_there() {
        let result = json!({
            "status": {"uptime": 7300, "load": 0.5, "kernel": "6.1.0"},
            "system": {"boot": "uefi", "vendor": "Dell Inc.", "product": "R650", "serial": "S1"},
            "memory": {"total_kib": 1_048_576, "modules": [{"locator": "A1", "mib": 1024, "type": "DDR4"}]},
            "disks": [
                {"name": "/dev/sda", "class": "ata", "bytes": 500_107_862_016_u64, "rotational": true, "serial": "D1"},
                {"name": "/dev/loop0", "class": "loop", "bytes": 1},
            ],
            "health": [{"path": "/dev/sda", "serial": "D1", "verdict": "worn"}],
            "nics": [{"name": "eth0", "mac": "02:00:00:00:00:01", "state": "up", "addresses": ["192.0.2.1/24"]}],
            "bmc": null, "pci": [{}, {}], "usb": [],
            "errors": [{"collector": "bmc", "msg": "no ipmitool"}],
        });
        let expected = "\
machine   Dell Inc., R650, serial S1, uefi
kernel    6.1.0, up for 2 h, load 0.5
memory    1024 MiB, modules: 1
  module  A1, 1024 MiB, DDR4
disk      /dev/sda, 500 GB, rotational, serial D1, worn
disk      and 1 loop devices
nic       eth0, 02:00:00:00:00:01, up, 192.0.2.1/24
pci, usb  pci devices: 2, usb devices: 0
not known bmc: no ipmitool
";
        assert_eq!(page("inventory::collect", &result).unwrap(), expected);
        assert!(page("inventory::collect", &json!({"errors": []})).is_some());
    }
}
