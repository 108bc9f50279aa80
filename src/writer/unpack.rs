//! Unpacking: from the packed stream to the image in it. All of the stream must be of the format: a cut end, or something else
//! behind it, is an error, never the end.

use std::io::{self, BufRead, Error, ErrorKind, Read};
use std::num::NonZero;
use std::thread;

use bzip2::bufread::BzDecoder;
use clap::ValueEnum;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;

use crate::blocks::is_zero;
use crate::input::Input;

/// What an image may ask of the memory: enough for everything that is packed in the usual way.
const XZ_MEMORY: u64 = 256 << 20;
const ZSTD_WINDOW_LOG: u32 = 27;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    None,
    Gz,
    Xz,
    Zst,
    Bz2,
}

/// The image as one stream, of however many members it was packed.
pub(crate) struct Unpacker {
    compression: Compression,
    /// None after an error.
    member: Option<Member>,
}

impl Unpacker {
    pub(crate) fn new(compression: Compression, mut input: Input) -> io::Result<Unpacker> {
        if compression != Compression::None && input.fill_buf()?.is_empty() {
            return Err(Error::new(ErrorKind::UnexpectedEof, "it is empty"));
        }
        let member = Some(Member::open(compression, input)?);
        Ok(Unpacker {
            compression,
            member,
        })
    }

    /// What was unpacked; at its end.
    pub(crate) fn into_input(self) -> Option<Input> {
        self.member.map(Member::into_input)
    }

    /// Goes on to what follows the member that is at its end, if anything does.
    fn next_member(&mut self) -> io::Result<bool> {
        let Some(member) = self.member.take_if(|member| !member.is_all()) else {
            return Ok(false);
        };
        let mut input = member.into_input();
        let follows = match input.fill_buf()?.first() {
            // The last block of a tape is filled up with zeros.
            Some(0) => only_zeros(&mut input)?,
            first => first.is_some(),
        };
        let compression = if follows {
            self.compression
        } else {
            Compression::None
        };
        self.member = Some(Member::open(compression, input)?);
        Ok(follows)
    }
}

impl Read for Unpacker {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || !self.next_member()? {
                return Ok(count);
            }
        }
        Err(Error::other("it was not unpacked to its end"))
    }
}

fn only_zeros(input: &mut Input) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        if !is_zero(bytes) {
            let message = "something else follows its end";
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        let count = bytes.len();
        input.consume(count);
    }
}

/// A member of a gz or bz2, a stream of an xz, or all frames of a zst.
enum Member {
    None(Input),
    Gz(GzDecoder<Input>),
    Xz(XzDecoder<Input>),
    Bz2(BzDecoder<Input>),
    Zst(zstd::Decoder<'static, Input>),
}

impl Member {
    fn open(compression: Compression, input: Input) -> io::Result<Member> {
        Ok(match compression {
            Compression::None => Member::None(input),
            Compression::Gz => Member::Gz(GzDecoder::new(input)),
            Compression::Xz => {
                let cores = thread::available_parallelism().map_or(1, NonZero::get);
                let mut builder = MtStreamBuilder::new();
                // Blocks side by side, where there are several and the memory is enough for it.
                builder
                    .threads(cores as u32)
                    .memlimit_threading(XZ_MEMORY)
                    .memlimit_stop(XZ_MEMORY);
                Member::Xz(XzDecoder::new_stream(input, builder.decoder()?))
            }
            Compression::Bz2 => Member::Bz2(BzDecoder::new(input)),
            Compression::Zst => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Member::Zst(decoder)
            }
        })
    }

    /// Whether its end is that of the stream.
    fn is_all(&self) -> bool {
        matches!(self, Member::None(_) | Member::Zst(_))
    }

    fn into_input(self) -> Input {
        match self {
            Member::None(input) => input,
            Member::Gz(decoder) => decoder.into_inner(),
            Member::Xz(decoder) => decoder.into_inner(),
            Member::Bz2(decoder) => decoder.into_inner(),
            Member::Zst(decoder) => decoder.finish(),
        }
    }
}

impl Read for Member {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Member::None(input) => input.read(buffer),
            Member::Gz(decoder) => decoder.read(buffer),
            Member::Xz(decoder) => decoder.read(buffer),
            Member::Bz2(decoder) => decoder.read(buffer),
            Member::Zst(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::sync::Arc;

    use super::*;
    use crate::report::Progress;

    const FORMATS: [Compression; 4] = [
        Compression::Gz,
        Compression::Xz,
        Compression::Zst,
        Compression::Bz2,
    ];

    fn input(stream: &[u8]) -> Input {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(stream).unwrap();
        file.rewind().unwrap();
        Input::start(file, None, 2, Arc::new(Progress::default()))
    }

    fn unpack(compression: Compression, stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut image = Vec::new();
        Unpacker::new(compression, input(stream))?.read_to_end(&mut image)?;
        Ok(image)
    }

    fn pack(compression: Compression, image: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        match compression {
            Compression::None => packed.extend(image),
            Compression::Gz => {
                let mut packer = flate2::read::GzEncoder::new(image, flate2::Compression::fast());
                packer.read_to_end(&mut packed).unwrap();
            }
            Compression::Xz => {
                let mut packer = liblzma::read::XzEncoder::new(image, 0);
                packer.read_to_end(&mut packed).unwrap();
            }
            Compression::Bz2 => {
                let mut packer = bzip2::read::BzEncoder::new(image, bzip2::Compression::fast());
                packer.read_to_end(&mut packed).unwrap();
            }
            Compression::Zst => packed = zstd::encode_all(image, 1).unwrap(),
        }
        packed
    }

    /// Several blocks of what is neither all the same nor all different.
    fn sample_image() -> Vec<u8> {
        (0..300_000_u32)
            .flat_map(|n| (n / 3 * 7919).to_le_bytes())
            .collect()
    }

    #[test]
    fn what_was_packed_in_several_parts_comes_out_as_one() {
        let image = sample_image();
        let (first, second) = image.split_at(1_100_000);
        for compression in FORMATS {
            let stream = [pack(compression, first), pack(compression, second)].concat();
            assert!(unpack(compression, &stream).unwrap() == image);
        }
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_or_empty_is_an_error() {
        let image = sample_image();
        for compression in FORMATS {
            let stream = pack(compression, &image[..100_000]);
            let len = stream.len();
            for end in [0, 1, 3, 5, 9, 20, len / 2, len - 9, len - 4, len - 1] {
                assert!(
                    unpack(compression, &stream[..end]).is_err(),
                    "{end} of {len}"
                );
            }
        }
    }

    #[test]
    fn something_else_behind_the_end_or_in_the_middle_is_an_error() {
        let image = sample_image();
        for compression in FORMATS {
            let mut stream = pack(compression, &image[..100_000]);
            let end = stream.len();
            for behind in [&b"garbage, and more of it"[..], b"x", b"\0\0\0\0garbage"] {
                stream.truncate(end);
                stream.extend(behind);
                assert!(unpack(compression, &stream).is_err());
            }
            stream.truncate(end);
            stream[end / 2] ^= 16;
            assert!(unpack(compression, &stream).is_err() || compression == Compression::Zst);
        }
    }

    #[test]
    fn zeros_may_follow_where_the_tools_of_these_formats_let_them() {
        let image = sample_image();
        for compression in [Compression::Gz, Compression::Xz, Compression::Bz2] {
            let stream = [pack(compression, &image), vec![0; 1_100_000]].concat();
            assert!(unpack(compression, &stream).unwrap() == image);
        }
    }
}
