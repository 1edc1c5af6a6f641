//! The log filter, which can be changed while the agent runs.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Error as ReloadError;

/// The log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Plain lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// A filter that is not applied.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is invalid.
    #[error(
        "log filter {filter}: {problem}: expected error, warn, info, debug, trace or off, \
         or TARGET=LEVEL as in enforcer::drops=off, separated by commas"
    )]
    Invalid {
        /// The filter.
        filter: String,
        /// The problem.
        problem: String,
    },
    /// The logger does not run any more.
    #[error("cannot change the log filter: {0}")]
    Gone(#[from] ReloadError),
}

type Reload = dyn Fn(EnvFilter) -> Result<(), ReloadError> + Send + Sync;

/// The present log filter.
#[derive(Clone)]
pub struct LogFilter {
    present: Arc<Mutex<String>>,
    reload: Arc<Reload>,
    format: LogFormat,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFilter").field(&self.get()).finish()
    }
}

impl LogFilter {
    /// Starts logging to standard error, once in a process. What commands report to their user needs neither
    /// time nor module.
    ///
    /// # Errors
    /// The filter is invalid.
    pub fn start(filter: &str, format: LogFormat, is_agent: bool) -> Result<Self, LogError> {
        let parsed = parse(filter)?;
        let logger = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr);
        let reload: Arc<Reload> = match format {
            LogFormat::Text if !is_agent => {
                let logger = logger.without_time().with_target(false);
                let logger = logger.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
                let handle = logger.reload_handle();
                logger.init();
                Arc::new(move |filter| handle.reload(filter))
            }
            LogFormat::Text => {
                let logger = logger.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
                let handle = logger.reload_handle();
                logger.init();
                Arc::new(move |filter| handle.reload(filter))
            }
            LogFormat::Json => {
                let logger = logger.json().with_filter_reloading();
                let handle = logger.reload_handle();
                logger.init();
                Arc::new(move |filter| handle.reload(filter))
            }
        };
        Ok(Self { present: Arc::new(Mutex::new(filter.to_owned())), reload, format })
    }

    /// A filter without a logger.
    #[cfg(test)]
    pub(super) fn unconnected(filter: &str) -> Self {
        let present = Arc::new(Mutex::new(filter.to_owned()));
        Self { present, reload: Arc::new(|_| Ok(())), format: LogFormat::Text }
    }

    /// Whether the log has JSON objects, for programs.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == LogFormat::Json
    }

    /// The present filter.
    #[must_use]
    pub fn get(&self) -> String {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the filter.
    ///
    /// # Errors
    /// The filter is invalid: then nothing has changed.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        // One change at a time, so that `get` returns the active filter.
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        (self.reload)(parsed)?;
        log::set_max_level(of_log(LevelFilter::current()));
        let before = std::mem::replace(&mut *present, filter.to_owned());
        drop(present);
        tracing::warn!(%before, now = %filter, "the log filter was changed");
        Ok(())
    }
}

/// The same level for the crate `log`, which libraries use.
fn of_log(level: LevelFilter) -> log::LevelFilter {
    match level.into_level() {
        None => log::LevelFilter::Off,
        Some(tracing::Level::ERROR) => log::LevelFilter::Error,
        Some(tracing::Level::WARN) => log::LevelFilter::Warn,
        Some(tracing::Level::INFO) => log::LevelFilter::Info,
        Some(tracing::Level::DEBUG) => log::LevelFilter::Debug,
        Some(tracing::Level::TRACE) => log::LevelFilter::Trace,
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    // A single word would be taken for the name of a module, and silence all other modules.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let vague = |part: &&str| !part.contains(['=', '[', ':']) && !is_level(part);
    let invalid = |problem| LogError::Invalid { filter: filter.to_owned(), problem };
    if let Some(part) = filter.split(',').map(str::trim).find(vague) {
        return Err(invalid(format!("{part:?} is not a level")));
    }
    // The errors of the Kubernetes client are logged once and in context, where it is used.
    let quiet = format!("kube_client=off,kube_runtime=off,{filter}");
    // The parser's own words, without its list of levels.
    let short = |error: String| match error.split_once(": expected one of") {
        Some((problem, _)) => problem.to_owned(),
        None => error,
    };
    EnvFilter::try_new(quiet).map_err(|error| invalid(short(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_or_have_a_target() {
        for good in
            ["info", "WARN", "off", "enforcer::drops=off,info", "enforcer=debug", "debug, a::b"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["inof", "", "info,", "enforcer", "enforcer=loud", "info,debgu"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let error = parse("info,debgu").unwrap_err().to_string();
        let level = parse("foo=bar=1").unwrap_err().to_string();
        assert_eq!(level.matches("expected").count(), 1, "{level}");
        assert!(error.contains("\"debgu\" is not a level: expected error, warn"), "{error}");
    }

    #[test]
    fn a_bad_filter_changes_nothing() {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let requests = Arc::clone(&asked);
        let reload = move |filter: EnvFilter| {
            requests.lock().unwrap().push(filter.to_string());
            Ok(())
        };
        let present = Arc::new(Mutex::new("info".to_owned()));
        let filter = LogFilter { present, reload: Arc::new(reload), format: LogFormat::Text };
        assert!(filter.set("inof").is_err());
        assert_eq!((filter.get().as_str(), asked.lock().unwrap().len()), ("info", 0));
        filter.set("debug").unwrap();
        assert_eq!(filter.get(), "debug");
        let asked = asked.lock().unwrap();
        assert!(asked[0].contains("debug") && asked[0].contains("kube_client=off"), "{asked:?}");
    }
}
