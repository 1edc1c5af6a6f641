//! The web page in a headless browser: Chromium, driven by WebDriver. Without `chromedriver` on the path
//! (or in `ENFORCER_CHROMEDRIVER`) the tests are skipped with a message.
//!
//! `ENFORCER_SCREENSHOTS=DIR` writes the pictures of the documents, as in
//! `ENFORCER_SCREENSHOTS=docs/images cargo test -p enforcer-tests --test page`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "how a test fails")]

mod accessibility;
mod axe;
mod browser;
mod estate;
mod explain;
mod graph;
mod matrix;
mod modules;
mod report;
mod what_if;
