mod diagnostics;
mod dialect;
mod editors;
mod isolation;
mod odd;
mod persistence;
mod recordings;
mod scene;
mod states;

use std::fs;

use super::*;
mod verdicts;
