//! What ended endpoints have counted, by namespace: kept beside the tables that outlive the agent,
//! so that sums go on where an earlier agent left off (semantics C3). No program reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::maps::{HashMap, Map, MapData, MapError, MapInfo};
use enforcer_ebpf::contract::counters::Counters;

use super::{KernelError, Pins, sys};

/// The table's name, and its pin's.
const NAME: &str = "settled";
/// The longest name of a namespace that is kept, in bytes; Kubernetes' have 63 at most (RFC 1123).
const LENGTH: usize = 64;
/// How many namespaces there is room for; what they count takes memory only if they are there.
const NAMESPACES: u32 = 4_096;

/// A namespace's name, with zeros behind it.
type Key = [u8; LENGTH];

/// What ended endpoints have counted, by namespace.
pub struct SettledTable(HashMap<MapData, Key, Counters>);

impl SettledTable {
    /// Finds or makes the table.
    ///
    /// # Errors
    /// It can't be made, or not be pinned.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        let pin = pins.settled();
        if let Ok(info) = MapInfo::from_pin(&pin) {
            let shape = (info.key_size() as usize, info.value_size() as usize);
            if shape == (LENGTH, size_of::<Counters>()) {
                return Self::of(MapData::from_pin(&pin).map_err(failed)?);
            }
            remove(&pin)?;
        }
        let table = sys::hash_table::<Key, Counters>(NAMESPACES);
        let table = table.map_err(|source| KernelError::ReadPin { path: pin.clone(), source })?;
        let data = MapData::from_fd(table).map_err(failed)?;
        data.pin(&pin).map_err(|source| KernelError::Pin { path: pin, source })?;
        Self::of(data)
    }

    fn of(data: MapData) -> Result<Self, KernelError> {
        let map = Map::from_map_data(data).map_err(failed)?;
        HashMap::try_from(map).map(Self).map_err(failed)
    }

    /// What earlier agents have kept.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn read(&self) -> Result<BTreeMap<String, Counters>, KernelError> {
        let entries = self.0.iter().map(|entry| {
            let (key, counters) = entry.map_err(failed)?;
            let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok((String::from_utf8_lossy(name).into_owned(), counters))
        });
        entries.collect()
    }

    /// Keeps what a namespace's ended endpoints have counted; `None`: there is no such any more.
    ///
    /// # Errors
    /// There is no room.
    pub fn write(&mut self, name: &str, counters: Option<&Counters>) -> Result<(), KernelError> {
        let Some(key) = key(name) else { return Ok(()) };
        match counters {
            Some(counters) => self.0.insert(key, counters, 0).map_err(failed),
            None => match self.0.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
                Err(source) => Err(failed(source)),
            },
        }
    }
}

fn key(name: &str) -> Option<Key> {
    let mut key = [0; LENGTH];
    key.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(key)
}

fn remove(pin: &PathBuf) -> Result<(), KernelError> {
    let failed = |source| KernelError::ReadPin { path: pin.clone(), source };
    std::fs::remove_file(pin).map_err(failed)
}

fn failed(source: MapError) -> KernelError {
    KernelError::Table { name: NAME, source }
}
