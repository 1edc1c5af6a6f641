//! Marks: the bytes by which a frame that arrived is recognized.

/// The first bytes of every mark.
pub(crate) const MAGIC: [u8; 4] = [0xe5, 0xf0, 0x0d, 0xb1];

/// This many bytes of repeated marks.
pub(crate) fn marked(length: usize, mark: u32) -> Vec<u8> {
    let one = [MAGIC, with_check(mark).to_be_bytes()].concat();
    one.into_iter().cycle().take(length).collect()
}

/// The greatest mark.
pub(crate) const LAST_MARK: u32 = 0xff_ffff;

/// The mark with a check sum: what is left of a mark that was cut, and bytes behind it, are none.
pub(crate) const fn with_check(mark: u32) -> u32 {
    mark << 8 | (mark.wrapping_mul(167) ^ mark >> 8 ^ mark >> 16).wrapping_add(13) & 0xff
}

/// The mark of these four bytes, if the check sum is right.
pub(crate) fn checked(number: u32) -> Option<u32> {
    let mark = number >> 8;
    (with_check(mark) == number).then_some(mark)
}

/// Whether the frame has no mark but this one in its short form.
pub(crate) fn marks_only_short(frame: &[u8], mark: u32) -> bool {
    let has = |what: &[u8]| frame.windows(what.len()).any(|it| it == what);
    !has(&MAGIC) && has(&short_mark(mark))
}

/// A mark of six bytes, which is a valid hardware address: the payload of a valid link message.
pub(crate) fn short_mark(mark: u32) -> [u8; 6] {
    let [a, b, c, d] = with_check(mark).to_be_bytes();
    [0x0e, 0x5f, a, b, c, d]
}
