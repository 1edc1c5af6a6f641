//! Access to a frame's bytes.

/// Access to a frame's bytes, wherever they are.
pub trait Bytes {
    /// The `N` bytes at `offset`, if the frame has them all.
    fn view<const N: usize>(&self, offset: usize) -> Option<View<'_, N>>;

    /// The same offset. In the kernel it makes the verifier forget how the offset was computed: after
    /// a loop it then proves what follows once, not once for every number of rounds.
    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        offset
    }
}

impl Bytes for [u8] {
    fn view<const N: usize>(&self, offset: usize) -> Option<View<'_, N>> {
        self.get(offset..)?.first_chunk().map(View)
    }
}

/// `N` bytes of a frame, read as big-endian numbers. Offsets beyond `N` are programming errors.
#[derive(Clone, Copy)]
pub struct View<'a, const N: usize>(pub &'a [u8; N]);

macro_rules! read {
    ($name:ident, $number:ty) => {
        #[doc = concat!("The big-endian `", stringify!($number), "` at `offset`.")]
        #[inline(always)]
        #[must_use]
        pub fn $name(&self, offset: usize) -> $number {
            #[cfg(target_arch = "bpf")]
            {
                // SAFETY: every caller's offset is a constant that leaves room before `N`. Headers are as
                // aligned as the kernel itself assumes (NET_IP_ALIGN); one load, not one for each byte.
                #[expect(unsafe_code, reason = "packet bytes are read in place")]
                unsafe {
                    <$number>::from_be(*self.0.as_ptr().add(offset).cast::<$number>())
                }
            }
            #[cfg(not(target_arch = "bpf"))]
            {
                const SIZE: usize = size_of::<$number>();
                let mut bytes = [0; SIZE];
                bytes.copy_from_slice(&self.0[offset..offset + SIZE]);
                <$number>::from_be_bytes(bytes)
            }
        }
    };
}

impl<const N: usize> View<'_, N> {
    read!(u16, u16);
    read!(u32, u32);
    read!(u64, u64);

    /// The byte at `offset`.
    #[inline(always)]
    #[must_use]
    pub fn u8(&self, offset: usize) -> u8 {
        self.0[offset]
    }
}

/// No header begins further into the packet than this (keeps offsets provably small).
const FARTHEST: usize = 0x4000;

/// The offset, if it is at most [`FARTHEST`]. Make one pointer of it, at once, and use it for nothing
/// else: the verifier before Linux 5.12 forgets the bounds of a number that the compiler spilled to
/// keep it, but not those of a pointer.
#[inline(always)]
pub(super) fn bounded<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<usize> {
    let offset = bytes.settle(offset);
    if offset > FARTHEST { None } else { Some(offset) }
}
