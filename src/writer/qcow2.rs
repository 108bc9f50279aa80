//! The format of QEMU's images: its header, and the entries of its tables. What is unusual in it is not understood here,
//! and left to QEMU.

use std::ops::Range;

use crate::report::{Failure, Kind};

/// How much of the file is its header, and enough of it.
pub(crate) const HEADER: usize = 112;

/// The longest table of tables that is read: enough for 512 TiB in clusters of 64 KiB.
const MAX_TABLES: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Header {
    /// Of the image that is in it.
    pub(crate) size: u64,
    pub(crate) cluster: u64,
    /// Where the table of tables is.
    pub(crate) tables: Range<u64>,
    pub(crate) zstd: bool,
    is_v3: bool,
}

/// What stands for a cluster of the image, or for the clusters of a table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Zeros,
    At(u64),
    /// Somewhere in this range, if the file does not end before.
    Packed(Range<u64>),
}

impl Header {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Header, Failure> {
        let number =
            |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from(number(at)) << 32 | u64::from(number(at + 4));
        if bytes.len() < HEADER || number(0) != 0x5146_49fb {
            return Err(Failure::new(
                Kind::Unpack,
                "unpacking the image: it is not a qcow2",
            ));
        }
        let (version, bits, size) = (number(4), number(20), long(24));
        // A bit for each: 0 the number of references is out of date, 3 byte 104 tells how clusters are packed.
        let (features, packing) = match version {
            2 => (0, 0),
            _ => (long(72), bytes[104]),
        };
        let packing = if features & 8 == 0 { 0 } else { packing };
        let cluster = 1 << bits.clamp(12, 21);
        let of_table = cluster * (cluster / 8);
        let (entries, tables) = (size.div_ceil(of_table), long(40));
        let unusual = [
            (version != 2 && version != 3, "its version"),
            (!(12..=21).contains(&bits), "the size of its clusters"),
            (long(8) != 0, "a backing file"),
            (number(32) != 0, "encryption"),
            (number(60) != 0, "snapshots"),
            (features & !9 != 0, "its features"),
            (packing > 1, "how its clusters are packed"),
            (
                size == 0
                    || !size.is_multiple_of(512)
                    || entries > MAX_TABLES
                    || entries > number(36).into(),
                "its size",
            ),
            (
                tables == 0 || !tables.is_multiple_of(cluster) || tables > 1 << 56,
                "the place of its tables",
            ),
        ];
        if let Some((_, what)) = unusual.iter().find(|(is, _)| *is) {
            return Err(not_understood(what));
        }
        Ok(Header {
            size,
            cluster,
            tables: tables..tables + entries * 8,
            zstd: packing == 1,
            is_v3: version == 3,
        })
    }

    /// How many bytes of the image a table is for.
    pub(crate) fn of_table(&self) -> u64 {
        self.cluster * (self.cluster / 8)
    }

    /// Reads an entry of the table of tables: where a table is.
    pub(crate) fn table(&self, entry: u64) -> Result<Entry, Failure> {
        self.plain(entry, 1 << 63)
    }

    /// Reads an entry of a table: where a cluster is.
    pub(crate) fn cluster(&self, entry: u64) -> Result<Entry, Failure> {
        if entry & 1 << 62 == 0 {
            // The cluster is zero, whether it has a place or not.
            let zero = u64::from(self.is_v3);
            if entry & zero != 0 {
                return self.plain(entry & !zero, 1 << 63).map(|_| Entry::Zeros);
            }
            return self.plain(entry, 1 << 63);
        }
        // The larger a cluster, the more bits has the number of sectors after the first that it is packed in.
        let split = 62 - (self.cluster.trailing_zeros() - 8);
        let place = entry & ((1 << split) - 1);
        let more = (entry & ((1 << 62) - 1)) >> split;
        if entry >> 63 != 0 || place == 0 || place > 1 << 56 {
            return Err(not_understood("a packed cluster"));
        }
        Ok(Entry::Packed(place..(place & !511) + (more + 1) * 512))
    }

    fn plain(&self, entry: u64, flags: u64) -> Result<Entry, Failure> {
        let place = entry & !flags;
        match place {
            0 => Ok(Entry::Zeros),
            _ if place < 1 << 56 && place.is_multiple_of(self.cluster) => Ok(Entry::At(place)),
            _ => Err(not_understood("an entry of a table")),
        }
    }
}

/// What only a program that has all of the file at hand can do, or may know.
pub(crate) fn not_understood(what: &str) -> Failure {
    let message = format!("the qcow2 cannot be written as it comes, because of {what}");
    Failure::new(Kind::NotStreamable, message)
}

/// The entries of a table.
pub(crate) fn entries(table: &[u8]) -> impl Iterator<Item = u64> {
    let entries = table.chunks_exact(8);
    entries.map(|entry| u64::from_be_bytes(entry.try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 10 GiB in clusters of 64 KiB.
    fn usual() -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        bytes[23] = 16;
        bytes[24..32].copy_from_slice(&(10_u64 << 30).to_be_bytes());
        bytes[39] = 20;
        bytes[45] = 3;
        bytes
    }

    #[test]
    fn no_byte_of_a_header_makes_sizes_that_are_out_of_bounds() {
        let header = Header::parse(&usual()).unwrap();
        assert_eq!(header.tables, 0x30000..0x30000 + 20 * 8);
        for at in 0..HEADER {
            for value in 0..=255 {
                let mut bytes = usual();
                bytes[at] = value;
                let Ok(header) = Header::parse(&bytes) else {
                    continue;
                };
                assert!((4096..=2 << 20).contains(&header.cluster));
                assert!(header.tables.end - header.tables.start <= MAX_TABLES * 8);
                assert!(header.size <= header.of_table() * MAX_TABLES);
            }
        }
    }

    #[test]
    fn an_entry_has_a_place_is_zero_packed_or_not_understood() {
        let header = Header::parse(&usual()).unwrap();
        assert_eq!(header.cluster(0).unwrap(), Entry::Zeros);
        assert_eq!(
            header.cluster(1 << 63 | 0x50000).unwrap(),
            Entry::At(0x50000)
        );
        assert_eq!(header.cluster(1 << 63 | 0x50001).unwrap(), Entry::Zeros);
        // Two sectors more than the first, of which it takes a part.
        let packed = 1 << 62 | 2 << 54 | 0x51234;
        assert_eq!(
            header.cluster(packed).unwrap(),
            Entry::Packed(0x51234..0x51800)
        );
        for unknown in [0x50002, 0x51000, 1 << 57, 1 << 62, 3 << 62 | 0x51234] {
            let failure = header.cluster(unknown).unwrap_err();
            assert_eq!(failure.kind, Kind::NotStreamable);
        }
    }
}
