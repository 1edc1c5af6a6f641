//! SPDY/3.1 frames, as far as port-forwarding needs them: pure code, without I/O.
//!
//! Specification: draft-mbelshe-httpbis-spdy-00, section 2. The other end is
//! `github.com/moby/spdystream`, which has no flow control.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::dictionary;

/// The size of a frame's head.
const HEAD: usize = 8;
/// The largest frame that is accepted.
const LARGEST: usize = 1 << 20;
/// The largest header block after decompression.
const LARGEST_BLOCK: usize = 64 << 10;
/// zlib's window.
const WINDOW: usize = 32 << 10;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

/// The last frame of a stream in its direction.
const FIN: u8 = 1;

/// Why a connection can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not SPDY/3.1: {0}")]
pub(super) struct Malformed(&'static str);

/// A frame of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream with its headers.
    Open {
        stream: u32,
        headers: Vec<(String, String)>,
        fin: bool,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
        fin: bool,
    },
    Reset {
        stream: u32,
    },
    /// To be sent back.
    Ping {
        id: u32,
    },
    Goodbye,
    /// Settings, window sizes, priorities.
    Other,
}

/// Decodes a stream of bytes.
pub(super) struct Decoder {
    waiting: Vec<u8>,
    headers: Inflater,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), headers: Inflater::new() }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next complete frame.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some((head, rest)) = self.waiting.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, flags, e, f, g] = *head;
        let length = usize::try_from(u32::from_be_bytes([0, e, f, g])).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(Malformed("a frame is too large"));
        }
        let Some(body) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.waiting.drain(..HEAD + length);
        let fin = flags & FIN != 0;
        if a & 0x80 == 0 {
            return Ok(Some(Frame::Data {
                stream: u32::from_be_bytes([a, b, c, d]),
                bytes: body,
                fin,
            }));
        }
        if (a & 0x7f, b) != (0, 3) {
            return Err(Malformed("another version"));
        }
        self.control(u16::from_be_bytes([c, d]), &body, fin).map(Some)
    }

    fn control(&mut self, kind: u16, body: &[u8], fin: bool) -> Result<Frame, Malformed> {
        let first = body.first_chunk().map(|it| u32::from_be_bytes(*it) & 0x7fff_ffff);
        let first = || first.ok_or(Malformed("a frame is too short"));
        Ok(match kind {
            SYN_STREAM => {
                // Behind the stream's number: an associated stream, priority, slot.
                let block = body.get(10..).ok_or(Malformed("a frame is too short"))?;
                let headers = pairs(&self.headers.inflate(block)?)?;
                Frame::Open { stream: first()?, headers, fin }
            }
            RST_STREAM => Frame::Reset { stream: first()? },
            PING => Frame::Ping { id: first()? },
            GOAWAY => Frame::Goodbye,
            _ => Frame::Other,
        })
    }
}

/// The names and values of a header block.
fn pairs(block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut rest = block;
    let mut number = || {
        let (head, tail) = rest.split_first_chunk()?;
        rest = tail;
        Some(u32::from_be_bytes(*head))
    };
    let count = number().ok_or(Malformed("headers are too short"))?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((text(&mut rest)?, text(&mut rest)?));
    }
    Ok(pairs)
}

/// A text behind its length.
fn text(rest: &mut &[u8]) -> Result<String, Malformed> {
    let short = Malformed("headers are too short");
    let (length, tail) = rest.split_first_chunk().ok_or(short)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| short)?;
    let (text, tail) = tail.split_at_checked(length).ok_or(short)?;
    *rest = tail;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Decompresses header blocks, which share one stream of zlib with a preset dictionary.
struct Inflater {
    state: Box<DecompressorOxide>,
    /// The last bytes of the output, as a ring.
    window: Vec<u8>,
    at: usize,
    is_first: bool,
}

impl Inflater {
    fn new() -> Self {
        let mut window = dictionary::bytes();
        let at = window.len();
        window.resize(WINDOW, 0);
        Self { state: Box::default(), window, at, is_first: true }
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut input = block;
        if std::mem::take(&mut self.is_first) {
            // zlib's head and the dictionary's checksum.
            input = input.get(6..).ok_or(Malformed("headers are too short"))?;
        }
        let mut output = Vec::new();
        loop {
            let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
            let (status, read, written) =
                decompress(&mut self.state, input, &mut self.window, self.at, flags);
            let new = self.window.get(self.at..self.at + written).unwrap_or_default();
            output.extend_from_slice(new);
            self.at = (self.at + written) % WINDOW;
            input = input.get(read..).unwrap_or_default();
            match status {
                _ if output.len() > LARGEST_BLOCK => {
                    return Err(Malformed("headers are too large"));
                }
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput if input.is_empty() => return Ok(output),
                TINFLStatus::NeedsMoreInput => {}
                _ => return Err(Malformed("headers are not compressed")),
            }
        }
    }
}

/// Encodes the answers.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    has_replied: bool,
}

impl Encoder {
    /// Accepts a stream, without headers.
    pub(super) fn reply(&mut self, stream: u32) -> Vec<u8> {
        let mut body = stream.to_be_bytes().to_vec();
        if !std::mem::replace(&mut self.has_replied, true) {
            // zlib's head: deflate with a window of 32 KiB, no dictionary.
            body.extend([0x78, 0x01]);
        }
        // A stored block of four bytes, the number of headers: 0. An empty one, without which Go's reader
        // waits for the next block.
        body.extend([0, 4, 0, !4, !0, 0, 0, 0, 0]);
        body.extend([0, 0, 0, !0, !0]);
        control(SYN_REPLY, &body)
    }
}

/// Data of a stream.
pub(super) fn data(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    let [_, e, f, g] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    let mut frame = vec![a, b, c, d, if fin { FIN } else { 0 }, e, f, g];
    frame.extend_from_slice(bytes);
    frame
}

/// The answer to a ping.
pub(super) fn pong(id: u32) -> Vec<u8> {
    control(PING, &id.to_be_bytes())
}

fn control(kind: u16, body: &[u8]) -> Vec<u8> {
    let [c, d] = kind.to_be_bytes();
    let [_, e, f, g] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![0x80, 3, c, d, 0, e, f, g];
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored block behind zlib's head, as no client writes it, but each may.
    fn open(stream: u32, is_first: bool, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            block.extend(text.bytes());
        }
        let mut body = stream.to_be_bytes().to_vec();
        body.extend([0; 6]);
        if is_first {
            body.extend([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
        }
        let length = u16::try_from(block.len()).unwrap();
        body.push(0);
        body.extend(length.to_le_bytes());
        body.extend((!length).to_le_bytes());
        body.extend(block);
        control(SYN_STREAM, &body)
    }

    #[test]
    fn frames_arrive_in_pieces() {
        let mut bytes = open(1, true, &[("streamtype", "error"), ("port", "80")]);
        bytes.extend(data(1, b"", true));
        bytes.extend(open(3, false, &[("streamtype", "data")]));
        bytes.extend(pong(7));
        let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
        for byte in bytes {
            decoder.feed(&[byte]);
            frames.extend(decoder.next().unwrap());
        }
        let headers = |all: &[(&str, &str)]| {
            all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(
            frames,
            [
                Frame::Open {
                    stream: 1,
                    headers: headers(&[("streamtype", "error"), ("port", "80")]),
                    fin: false
                },
                Frame::Data { stream: 1, bytes: Vec::new(), fin: true },
                Frame::Open { stream: 3, headers: headers(&[("streamtype", "data")]), fin: false },
                Frame::Ping { id: 7 },
            ]
        );
    }

    fn of_hex(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).unwrap());
        pairs.map(|it| u8::from_str_radix(it, 16).unwrap()).collect()
    }

    #[test]
    fn a_clients_compressed_headers_are_read() {
        // By zlib 1.3 with the dictionary and Z_SYNC_FLUSH; the second block refers to the first.
        let blocks = [
            "78f9e3c6a7c202253a48f95b044aab4c16064092b308125b99a054cc68004e872545a989b9d0a286351514\
             1100000000ffff",
            "224b2ba8944a04000000ffff",
        ];
        let mut inflater = Inflater::new();
        for (block, kind) in blocks.into_iter().zip(["error", "data"]) {
            let headers = pairs(&inflater.inflate(&of_hex(block)).unwrap()).unwrap();
            let wanted = [("port", "80"), ("requestid", "0"), ("streamtype", kind)];
            assert_eq!(headers, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
        }
    }

    #[test]
    fn what_is_no_spdy_is_an_error() {
        for wrong in [
            &b"\x80\x02\x00\x01\x00\x00\x00\x00"[..],
            b"\x80\x03\x00\x01\x00\x00\x00\x04\x00\x00\x00\x01",
            b"\x80\x03\x00\x01\x00\x00\x00\x0b\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff",
            b"\x00\x00\x00\x01\x00\xff\xff\xff",
        ] {
            let mut decoder = Decoder::new();
            decoder.feed(wrong);
            assert!(decoder.next().is_err(), "{wrong:?}");
        }
    }
}
