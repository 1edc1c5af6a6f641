//! The memory that programs see, and a record of what they touched of tables.
//!
//! Each table, the stack and the context are a region of their own, whose number is the upper half of an
//! address. The packet is at a low address, because the context has 32 bits for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};

use super::field;

/// The bytes of a cache line.
const LINE: usize = 64;
/// The address of the packet's first byte.
const PACKET: u64 = 0x10_0000;
/// The numbers of the regions that are no tables.
const PACKET_REGION: usize = 0;
const CONTEXT_REGION: usize = 1;
const STACK_REGION: usize = 2;
/// Bytes of the stack of one function.
pub(super) const FRAME: u64 = 512;
/// The most functions that call each other.
pub(super) const FRAMES: u64 = 8;

/// How much of a table was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touched {
    /// Cache lines of 64 bytes, as if the table began with one.
    pub lines: u32,
    /// Bytes.
    pub bytes: u32,
}

struct Region {
    name: String,
    data: Vec<u8>,
}

/// All regions.
pub(super) struct Memory {
    regions: Vec<Region>,
    touched: BTreeSet<(usize, usize)>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let region = |(name, size): (&str, u64)| Region {
            name: name.to_owned(),
            data: vec![0; usize::try_from(size).unwrap_or_default()],
        };
        let stack = FRAME * FRAMES;
        let regions = [("packet", 0), ("context", field::SIZE as u64), ("stack", stack)];
        Self { regions: regions.map(region).into(), touched: BTreeSet::new() }
    }

    /// Adds a table with these contents; returns its number.
    pub(super) fn add(&mut self, name: &str, data: Vec<u8>) -> usize {
        self.regions.push(Region { name: name.to_owned(), data });
        self.regions.len() - 1
    }

    /// The address of a byte of a region.
    pub(super) const fn address(region: usize, offset: usize) -> u64 {
        (region as u64) << 32 | offset as u64
    }

    /// The address of the packet's context.
    pub(super) const fn context() -> u64 {
        Self::address(CONTEXT_REGION, 0)
    }

    /// The end of the outermost function's stack.
    pub(super) const fn stack() -> u64 {
        Self::address(STACK_REGION, 0) + FRAME
    }

    /// Puts another packet in front of the programs.
    pub(super) fn begin(&mut self, frame: &[u8], context: &[u8]) -> anyhow::Result<()> {
        self.bytes_mut(PACKET_REGION)?.clear();
        self.bytes_mut(PACKET_REGION)?.extend(frame);
        self.bytes_mut(CONTEXT_REGION)?.copy_from_slice(context);
        let end = PACKET + frame.len() as u64;
        self.store(Self::context() + field::DATA as u64, 4, PACKET)?;
        self.store(Self::context() + field::DATA_END as u64, 4, end)?;
        self.touched.clear();
        Ok(())
    }

    /// A 32-bit field of the context.
    pub(super) fn context_word(&self, at: usize) -> anyhow::Result<u32> {
        let bytes = self.bytes(CONTEXT_REGION)?.get(at..at + 4).context("no such field")?;
        Ok(bytemuck::pod_read_unaligned(bytes))
    }

    /// All bytes of a region.
    pub(super) fn bytes(&self, region: usize) -> anyhow::Result<&[u8]> {
        Ok(&self.regions.get(region).context("no such region")?.data)
    }

    /// The same, to be changed by the agent's side.
    pub(super) fn bytes_mut(&mut self, region: usize) -> anyhow::Result<&mut Vec<u8>> {
        Ok(&mut self.regions.get_mut(region).context("no such region")?.data)
    }

    /// The bytes at an address, without a record.
    pub(super) fn peek(&self, address: u64, size: usize) -> anyhow::Result<&[u8]> {
        let (region, offset) = Self::place(address)?;
        let bytes = self.regions.get(region).and_then(|it| it.data.get(offset..offset + size));
        bytes.with_context(|| format!("{size} bytes at {address:#x} are in no region"))
    }

    /// Reads a number of `size` bytes.
    pub(super) fn load(&mut self, address: u64, size: usize) -> anyhow::Result<u64> {
        let mut word = [0; 8];
        word.get_mut(..size).context("size")?.copy_from_slice(self.peek(address, size)?);
        self.record(address, size)?;
        Ok(u64::from_le_bytes(word))
    }

    /// Writes the low `size` bytes of a number.
    pub(super) fn store(&mut self, address: u64, size: usize, value: u64) -> anyhow::Result<()> {
        let (region, offset) = Self::place(address)?;
        let bytes =
            self.regions.get_mut(region).and_then(|it| it.data.get_mut(offset..offset + size));
        bytes
            .with_context(|| format!("{size} bytes at {address:#x} are in no region"))?
            .copy_from_slice(value.to_le_bytes().get(..size).context("size")?);
        self.record(address, size)
    }

    /// Copies bytes of the packet to an address, as `bpf_skb_load_bytes` does; returns its result: -EFAULT
    /// if the packet ends before.
    pub(super) fn load_packet(&mut self, [offset, to, length]: [u64; 3]) -> anyhow::Result<u64> {
        const FAULT: u64 = (-14_i64).cast_unsigned();
        let (offset, length) = (usize::try_from(offset)?, usize::try_from(length)?);
        let found = self.bytes(PACKET_REGION)?.get(offset..).and_then(|it| it.get(..length));
        let Some(bytes) = found.map(<[u8]>::to_vec) else { return Ok(FAULT) };
        for (address, byte) in (to..).zip(bytes) {
            self.store(address, 1, byte.into())?;
        }
        Ok(0)
    }

    fn record(&mut self, address: u64, size: usize) -> anyhow::Result<()> {
        let (region, offset) = Self::place(address)?;
        if region > STACK_REGION {
            self.touched.extend((offset..offset + size).map(|byte| (region, byte)));
        }
        Ok(())
    }

    fn place(address: u64) -> anyhow::Result<(usize, usize)> {
        let (region, offset) = (address >> 32, address & u64::from(u32::MAX));
        let start = if region == PACKET_REGION as u64 { PACKET } else { 0 };
        match offset.checked_sub(start) {
            Some(offset) => Ok((usize::try_from(region)?, usize::try_from(offset)?)),
            None => bail!("no pointer: {address:#x}"),
        }
    }

    /// What was touched of each table since the packet arrived.
    pub(super) fn touched(&self) -> BTreeMap<String, Touched> {
        let mut lines = BTreeSet::new();
        let mut all = BTreeMap::<String, Touched>::new();
        for (region, byte) in &self.touched {
            let Some(name) = self.regions.get(*region).map(|it| it.name.clone()) else { continue };
            let touched = all.entry(name).or_default();
            touched.bytes += 1;
            touched.lines += u32::from(lines.insert((*region, byte / LINE)));
        }
        all
    }
}
