//! The dictionary of SPDY/3's header compression.
//!
//! A constant of the protocol: draft-mbelshe-httpbis-spdy-00, section 2.6.10.1.

/// The words, each behind its length; `_` stands for a space.
const WORDS: &str = "\
    options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection \
    content-base content-encoding content-language content-length content-location \
    content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location \
    max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after \
    server te trailer transfer-encoding upgrade user-agent vary via warning \
    www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";

/// What follows them.
const TAIL: &[&str] = &[
    "10010120120220520630030230330430530630740240540640740840941041141241341441541641",
    "7502504505203 Non-Authoritative Information204 No Content301 Moved Permanently40",
    "0 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error",
    "501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept O",
    "ct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag",
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/",
    "javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1",
    ",utf-,*,enq=0.",
];

/// The dictionary.
pub(super) fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS.split_whitespace() {
        bytes.extend(u32::try_from(word.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(word.replace('_', " ").bytes());
    }
    bytes.extend(TAIL.concat().bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::bytes;

    /// RFC 1950's checksum, which identifies a dictionary.
    fn adler32(bytes: &[u8]) -> u32 {
        let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65_521;
            (a, (b + a) % 65_521)
        });
        b << 16 | a
    }

    #[test]
    fn it_is_the_one_that_clients_name() {
        assert_eq!(bytes().len(), 1423);
        assert_eq!(adler32(&bytes()), 0xe3c6_a7c2);
    }
}
