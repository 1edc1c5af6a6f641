//! `wget` as the images of the tutorial have it.
//!
//! The lab's pods have the host's programs. The host's `wget` tries twenty times, and reports a time-out in
//! other words than the one of `nginx:alpine` (BusyBox).

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The hidden subcommand.
pub(crate) const COMMAND: &str = "__applet";

/// BusyBox's default limit, in seconds.
const LIMIT: u64 = 900;

/// Whether the lab has the program itself.
pub(crate) fn is_one(command: &[String]) -> bool {
    command.first().is_some_and(|program| program == "wget")
}

/// Runs the command.
pub(crate) fn main(command: &[OsString]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command given")?;
    let words: Option<Vec<&str>> = arguments.iter().map(|it| it.to_str()).collect();
    let Some(request) = words.as_deref().and_then(Request::parse) else {
        // Options that only the host's program has.
        return Err(Command::new(program).args(arguments).exec().into());
    };
    match request.fetch() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(why) => {
            super::screen::complain(&format!("wget: {why}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A page to be written to standard output.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    host: String,
    port: u16,
    path: String,
    limit: Duration,
    prints: bool,
}

impl Request {
    /// `None`: something that is not implemented here.
    fn parse(words: &[&str]) -> Option<Self> {
        let (mut limit, mut prints, mut is_spider, mut url) = (LIMIT, false, false, None);
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "-q" | "--quiet" | "--tries=1" => {}
                "-O-" | "-qO-" => prints = true,
                "-O" | "-qO" => prints = *words.next()? == "-",
                "--spider" => is_spider = true,
                "-T" => limit = words.next()?.parse().ok()?,
                _ => match word.strip_prefix("--timeout=").or(word.strip_prefix("-T")) {
                    Some(seconds) => limit = seconds.parse().ok()?,
                    None if word.starts_with('-') || url.is_some() => return None,
                    None => url = Some(word),
                },
            }
        }
        let url = url?;
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !(prints || is_spider) || host.is_empty() || rest.contains("://") {
            return None;
        }
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
            _ => (host, 80),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let limit = Duration::from_secs(limit);
        Some(Self { host: name.to_owned(), port, path: format!("/{path}"), limit, prints })
    }

    fn fetch(&self) -> Result<(), String> {
        let started = Instant::now();
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let at = found.ok().and_then(|mut all| all.next());
        let at = at.ok_or_else(|| format!("bad address '{}'", self.host))?;
        let answer = self.exchange(at, started).map_err(|error| explain(&error, at))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or_default();
        if !status.contains(" 200") {
            return Err(format!("server returned error: {status}"));
        }
        if self.prints {
            // A closed pipe (`| head`) is no failure.
            let _ = io::stdout().write_all(body.as_bytes());
        }
        Ok(())
    }

    fn exchange(&self, at: SocketAddr, started: Instant) -> io::Result<String> {
        let left = || {
            let left = self.limit.saturating_sub(started.elapsed());
            if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
        };
        let mut stream = TcpStream::connect_timeout(&at, left()?)?;
        let Self { host, path, .. } = self;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut buffer)? {
                0 => return Ok(String::from_utf8_lossy(&answer).into_owned()),
                length => answer.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            }
        }
    }
}

fn explain(error: &io::Error, at: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "download timed out".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            format!("can't connect to remote host ({}): {text}", at.ip())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<(String, u16, String, u64)> {
        let words: Vec<&str> = line.split(' ').collect();
        let it = Request::parse(&words)?;
        Some((it.host, it.port, it.path, it.limit.as_secs()))
    }

    #[test]
    fn the_tutorials_options_are_known() {
        let is = |host: &str, port, path: &str, limit| {
            Some((host.to_owned(), port, path.to_owned(), limit))
        };
        assert_eq!(parse("-qO- -T 2 http://10.0.0.1"), is("10.0.0.1", 80, "/", 2));
        assert_eq!(parse("-q -O - --timeout=3 10.0.0.1:8080/x"), is("10.0.0.1", 8080, "/x", 3));
        assert_eq!(parse("-qO- http://[fd00::1]:81/"), is("fd00::1", 81, "/", LIMIT));
        assert_eq!(parse("-qO- http://[fd00::1]/"), is("fd00::1", 80, "/", LIMIT));
        assert_eq!(parse("--spider -T1 http://a/b"), is("a", 80, "/b", 1));
    }

    #[test]
    fn other_options_are_left_to_the_hosts_program() {
        for line in ["http://a", "-qO- https://a", "-r http://a", "-qO- -T", "-O file http://a"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn failures_are_in_busyboxs_words() {
        let at = SocketAddr::from(([10, 0, 0, 1], 80));
        let of = |error: io::Error| explain(&error, at);
        assert_eq!(of(io::ErrorKind::TimedOut.into()), "download timed out");
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(of(refused), "can't connect to remote host (10.0.0.1): Connection refused");
    }
}
