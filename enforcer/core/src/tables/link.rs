//! Which ids and places of the kernel an engine's classes and rows have.

use std::collections::BTreeMap;

use super::rows::RowKey;
use crate::numbered::NumberMap;
use crate::policy::Number;

/// What the kernel has of an engine's result.
#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    pub(super) version: u64,
    /// By class: its id.
    pub(super) ids: NumberMap<Number, u32>,
    /// The places of rows.
    pub(super) rows: BTreeMap<Number, RowKey>,
    /// Classes that went and rows that came since port sets were last looked through.
    pub(super) stale: usize,
}

/// Classes and rows after which unused port sets are looked for.
pub(super) const STALE: usize = 256;

/// The most cells with which they are looked for after every one.
pub(super) const FEW_CELLS: usize = 4_096;
