mod diagnostics;
mod editors;
mod persistence;
mod recordings;
mod scene;
mod states;

use std::fs;

use super::*;
