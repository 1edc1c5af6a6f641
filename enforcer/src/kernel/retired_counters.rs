//! The counters of ended endpoints, summed by namespace.
//!
//! The table is pinned beside those that outlive the agent, so that the sums continue where an
//! earlier agent stopped (semantics C3). No program reads it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use aya::maps::{HashMap, Map, MapData, MapInfo};
use enforcer_ebpf::contract::counters::Counters;

use super::error::ignoring;
use super::{KernelError, Pins};

/// The table's name.
const NAME: &str = "settled";
/// The longest name of a namespace, in bytes; Kubernetes' have 63 at most (RFC 1123).
const LENGTH: usize = 64;
/// The most namespaces.
const NAMESPACES: u32 = 4_096;
/// Entries take memory only while they exist.
const BPF_F_NO_PREALLOC: u32 = 1;

/// A namespace's name, padded with zeros.
type Key = [u8; LENGTH];

/// The counters of ended endpoints, by namespace.
pub struct SettledTable {
    table: HashMap<MapData, Key, Counters>,
    /// The same table, to pin it again.
    handle: MapData,
    pin: PathBuf,
}

impl SettledTable {
    /// Opens the table, or makes it.
    ///
    /// # Errors
    /// It can't be made or pinned.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        let failed = KernelError::table(NAME);
        let pin = pins.retired_counters();
        if let Ok(info) = MapInfo::from_pin(&pin)
            && (info.key_size() as usize, info.value_size() as usize)
                != (size_of::<Key>(), size_of::<Counters>())
        {
            std::fs::remove_file(&pin).map_err(KernelError::read_pin(&pin))?;
        }
        if !pin.exists() {
            let table = HashMap::<_, Key, Counters>::create(NAMESPACES, BPF_F_NO_PREALLOC);
            let pinned = table.map_err(failed)?.pin(&pin);
            pinned.map_err(|source| KernelError::Pin { path: pin.clone(), source })?;
        }
        let map = Map::from_map_data(MapData::from_pin(&pin).map_err(failed)?).map_err(failed)?;
        let table = HashMap::try_from(map).map_err(failed)?;
        Ok(Self { table, handle: MapData::from_pin(&pin).map_err(failed)?, pin })
    }

    /// Pins the table again if its pin is gone.
    ///
    /// # Errors
    /// It can't be pinned.
    pub fn restore_pin(&self) -> Result<(), KernelError> {
        if self.pin.exists() {
            return Ok(());
        }
        let pinned = self.handle.pin(&self.pin);
        pinned.map_err(|source| KernelError::Pin { path: self.pin.clone(), source })
    }

    /// The sums of earlier agents.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn read(&self) -> Result<BTreeMap<String, Counters>, KernelError> {
        let entries = self.table.iter().map(|entry| {
            let (key, counters) = entry.map_err(KernelError::table(NAME))?;
            let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok((String::from_utf8_lossy(name).into_owned(), counters))
        });
        entries.collect()
    }

    /// Sets a namespace's sum; `None` removes it.
    ///
    /// # Errors
    /// The table is full.
    pub fn write(&mut self, name: &str, counters: Option<&Counters>) -> Result<(), KernelError> {
        let Some(key) = key(name) else { return Ok(()) };
        match counters {
            Some(counters) => self.table.insert(key, counters, 0).map_err(KernelError::table(NAME)),
            None => ignoring(io::ErrorKind::NotFound, NAME, self.table.remove(&key)),
        }
    }
}

fn key(name: &str) -> Option<Key> {
    let mut key = [0; LENGTH];
    key.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(key)
}
