//! Replays streams recorded from a real API server.
//!
//! A recording is a folder of `list-before.PLURAL.json`, the initial objects, and
//! `watch.PLURAL.jsonl`, one event per line. The order within a kind is the real server's. The
//! recording does not contain the order of the kinds: a seed decides it.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::kinds::{KINDS, Kind};
use super::object;
use super::status::Refusal;
use super::store::Store;

/// Why a recording can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file can't be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is malformed.
    #[error("{path}, line {line}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// An object can't be stored.
    #[error("the recording has {0}")]
    Object(#[from] Refusal),
}

/// The recording of a kind.
#[derive(Debug, Clone)]
struct Track {
    kind: &'static Kind,
    before: Vec<Value>,
    events: VecDeque<Value>,
}

/// A recording and the position in it.
#[derive(Debug, Clone)]
pub struct Replay {
    tracks: Vec<Track>,
    random: u64,
}

impl Replay {
    /// Reads a recording; it need not have every kind.
    pub fn read(folder: &Path, seed: u64) -> Result<Self, ReplayError> {
        let mut tracks = Vec::new();
        for kind in KINDS {
            let list = folder.join(format!("list-before.{}.json", kind.plural));
            let watch = folder.join(format!("watch.{}.jsonl", kind.plural));
            if !watch.is_file() {
                continue;
            }
            let mut objects = json(&list, 0, &read(&list)?)?;
            let before = object::items_mut(&mut objects, "/items").map(Value::take).collect();
            let events = read(&watch)?;
            let events = events.lines().enumerate().map(|(line, text)| json(&watch, line, text));
            tracks.push(Track { kind, before, events: events.collect::<Result<_, _>>()? });
        }
        Ok(Self { tracks, random: seed })
    }

    /// Stores the initial objects.
    pub fn begin(&mut self, store: &Store) -> Result<(), ReplayError> {
        for track in &mut self.tracks {
            for object in track.before.drain(..) {
                store.put(track.kind, object)?;
            }
        }
        Ok(())
    }

    /// The number of remaining events.
    pub fn left(&self) -> usize {
        self.tracks.iter().map(|it| it.events.len()).sum()
    }

    /// Applies the next event to a store; `false`: none is left. Versions are the store's own,
    /// since their order across kinds must be the order of the replay.
    pub fn step(&mut self, store: &Store) -> Result<bool, ReplayError> {
        let left = self.left();
        if left == 0 {
            return Ok(false);
        }
        let mut number = self.number() % left as u64;
        for track in &mut self.tracks {
            let length = track.events.len() as u64;
            if number < length {
                if let Some(event) = track.events.pop_front() {
                    apply(store, track.kind, event)?;
                }
                return Ok(true);
            }
            number -= length;
        }
        Ok(false)
    }

    /// The next number of the seed's sequence (Steele et al., SplitMix).
    fn number(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn apply(store: &Store, kind: &'static Kind, mut event: Value) -> Result<(), ReplayError> {
    let object = event["object"].take();
    match object::text(&event, "/type") {
        "DELETED" => {
            let key = object::key(&object);
            store.finish(kind, &key, object);
        }
        "BOOKMARK" => store.bookmark(kind, object),
        _ => drop(store.put(kind, object)?),
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, ReplayError> {
    fs::read_to_string(path).map_err(|source| ReplayError::Io { path: path.to_owned(), source })
}

fn json(path: &Path, line: usize, text: &str) -> Result<Value, ReplayError> {
    let wrong = |source| ReplayError::Json { path: path.to_owned(), line: line + 1, source };
    serde_json::from_str(text).map_err(wrong)
}
