//! Writes a qcow2 as it comes. QEMU writes a table before the clusters that it tells the places of, so when a cluster
//! comes, it is known where it belongs; what comes a little too early is still in the window. An image whose parts stand
//! in another order cannot be written so, and then that is the answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;

use flate2::{Decompress, FlushDecompress};

use crate::guest::Guest;
use crate::input::{self, Input};
use crate::qcow2::{Entry, Header, entries, not_understood};
use crate::report::{Failure, Kind};
use crate::window::Window;

/// More parts that were announced and have not come are not remembered.
const MAX_WANTED: usize = 1 << 20;

/// A part of the file, in the order in which they are complete.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    end: u64,
    start: u64,
    is: Is,
    /// Which byte of the image it is for, or begins with.
    at: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Is {
    Tables,
    Table,
    Cluster,
    Packed,
}

pub(crate) struct Sequence {
    header: Header,
    window: Window,
    wanted: BinaryHeap<Reverse<Part>>,
    guest: Guest,
    /// The bytes of the part at hand, and what they are unpacked.
    part: Vec<u8>,
    unpacked: Vec<u8>,
    inflate: Decompress,
}

impl Sequence {
    pub(crate) fn new(header: Header, window: Window, guest: Guest) -> Sequence {
        let tables = Part {
            end: header.tables.end,
            start: header.tables.start,
            is: Is::Tables,
            at: 0,
        };
        Sequence {
            unpacked: vec![0; header.cluster as usize],
            part: Vec::new(),
            inflate: Decompress::new(false),
            header,
            window,
            wanted: BinaryHeap::from([Reverse(tables)]),
            guest,
        }
    }

    /// Reads the stream to its end, and gives back the head of the image.
    pub(crate) fn write(mut self, input: &mut Input) -> Result<Vec<u8>, Failure> {
        loop {
            self.take_complete(self.window.end())?;
            let block = input.next_block().map_err(|error| input::failure(&error))?;
            let Some(block) = block else { break };
            self.window.push(block);
        }
        // The last sector of what is packed need not be there.
        self.take_complete(self.window.end().next_multiple_of(512))?;
        match self.wanted.pop() {
            Some(Reverse(part)) => {
                let message = format!("unpacking the image: it ends before byte {}", part.end);
                Err(Failure::new(Kind::Unpack, message))
            }
            None => self.guest.finish(),
        }
    }

    fn take_complete(&mut self, end: u64) -> Result<(), Failure> {
        while let Some(Reverse(part)) = self.wanted.peek() {
            if part.end > end || (part.end > self.window.end() && part.is != Is::Packed) {
                break;
            }
            let Some(Reverse(part)) = self.wanted.pop() else {
                break;
            };
            self.take(&part)?;
        }
        Ok(())
    }

    fn want(&mut self, part: Part) -> Result<(), Failure> {
        if part.start < self.window.start() || self.wanted.len() == MAX_WANTED {
            return Err(not_understood("the order of its parts"));
        }
        self.wanted.push(Reverse(part));
        Ok(())
    }

    fn take(&mut self, part: &Part) -> Result<(), Failure> {
        let mut bytes = std::mem::take(&mut self.part);
        // QEMU may have left it to itself where the part ends; it begins in the window, or it were not wanted.
        let end = part.end.min(self.window.end());
        self.window.copy(part.start.min(end), end, &mut bytes);
        let taken = match part.is {
            Is::Tables | Is::Table => self.take_table(part, &bytes),
            Is::Cluster => self.put(part.at, &bytes),
            Is::Packed => self.unpack(part.at, &bytes),
        };
        self.part = bytes;
        taken
    }

    fn take_table(&mut self, part: &Part, table: &[u8]) -> Result<(), Failure> {
        let is_of_tables = part.is == Is::Tables;
        let (of_entry, len) = if is_of_tables {
            (self.header.of_table(), self.header.cluster)
        } else {
            (self.header.cluster, self.header.cluster)
        };
        let mut at = part.at;
        let mut zeros_from = at;
        for entry in entries(table) {
            if at >= self.header.size {
                break;
            }
            let entry = if is_of_tables {
                self.header.table(entry)
            } else {
                self.header.cluster(entry)
            }?;
            let (range, is) = match entry {
                Entry::Zeros => {
                    at += of_entry;
                    continue;
                }
                Entry::At(place) if is_of_tables => (place..place + len, Is::Table),
                Entry::At(place) => (place..place + len, Is::Cluster),
                Entry::Packed(range) => (range, Is::Packed),
            };
            self.guest.put_zeros(zeros_from, at)?;
            let (start, end) = (range.start, range.end);
            self.want(Part { end, start, is, at })?;
            at += of_entry;
            zeros_from = at;
        }
        self.guest.put_zeros(zeros_from, at.min(self.header.size))
    }

    fn unpack(&mut self, at: u64, packed: &[u8]) -> Result<(), Failure> {
        let mut unpacked = std::mem::take(&mut self.unpacked);
        let is_whole = if self.header.zstd {
            let decoder = zstd::Decoder::with_buffer(packed).map(zstd::Decoder::single_frame);
            decoder.is_ok_and(|mut decoder| decoder.read_exact(&mut unpacked).is_ok())
        } else {
            self.inflate.reset(false);
            let inflated = self
                .inflate
                .decompress(packed, &mut unpacked, FlushDecompress::Finish);
            inflated.is_ok() && self.inflate.total_out() == self.header.cluster
        };
        let put = if is_whole {
            self.put(at, &unpacked)
        } else {
            let message = format!("unpacking the image: the cluster for its byte {at} is damaged");
            Err(Failure::new(Kind::Unpack, message))
        };
        self.unpacked = unpacked;
        put
    }

    /// The image may end in the middle of its last cluster.
    fn put(&mut self, at: u64, cluster: &[u8]) -> Result<(), Failure> {
        let count = (self.header.size - at).min(cluster.len() as u64);
        self.guest.put(at, &cluster[..count as usize])
    }
}
