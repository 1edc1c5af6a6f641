//! HTTP requests to the agent on this node, and `enforcer log-level`.

use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// The longest time that the agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer in bytes: the status of a full node has about a megabyte.
const LONGEST: u64 = 64 << 20;

/// Changes the agent's log filter, if `filter` is given, and prints the present one.
///
/// # Errors
/// There is no agent at that address, it rejects the filter, or `out` can't be written.
pub fn log_level(
    agent: SocketAddr,
    filter: Option<&str>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let present = match filter {
        Some(filter) => ask(agent, "PUT", "/log", filter)?,
        None => ask(agent, "GET", "/log", "")?,
    };
    Ok(writeln!(out, "{}", present.trim_end())?)
}

/// The body of the agent's answer.
pub(super) fn ask(
    agent: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> anyhow::Result<String> {
    let answer = exchange(agent, method, path, body).with_context(|| {
        format!(
            "cannot reach the agent at {agent}: check that it runs, and set --status to its address"
        )
    })?;
    body_of(&answer, &agent.to_string(), path)
}

/// The body of an answer that `agent` gave.
pub(super) fn body_of(answer: &str, agent: &str, path: &str) -> anyhow::Result<String> {
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| {
        format!("the server at {agent} is not an agent: it does not speak HTTP")
    })?;
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some("400" | "413" | "503") => anyhow::bail!("{}", body.trim_end()),
        _ => anyhow::bail!(
            "the agent at {agent} does not serve {path} ({}): set --status to its status address",
            head.lines().next().unwrap_or_default()
        ),
    }
}

/// Sends a request by HTTP/1.0: its answers end with the connection and are not chunked.
fn exchange(agent: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&agent, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {agent}\r\nContent-Length: {length}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request. Returns the request, and the result of the client.
    fn answered(
        answer: &'static str,
        ask: impl FnOnce(SocketAddr) -> anyhow::Result<String>,
    ) -> (String, Result<String, String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it: closing a stream with unread bytes would reset the connection.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\ndebug") {
                let mut part = [0; 1_024];
                let length = stream.read(&mut part).unwrap();
                assert!(length > 0, "{request:?}");
                request.extend(&part[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let made = ask(address).map_err(|error| format!("{error:#}"));
        (server.join().unwrap(), made)
    }

    fn set(agent: SocketAddr) -> anyhow::Result<String> {
        let mut out = Vec::new();
        log_level(agent, Some("debug"), &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn the_answer_is_printed() {
        let (request, made) = answered("HTTP/1.0 200 OK\r\na: b\r\n\r\ndebug\n", set);
        assert!(request.starts_with("PUT /log HTTP/1.0\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\ndebug"), "{request}");
        assert_eq!(made, Ok("debug\n".to_owned()));
        let (_, made) = answered("HTTP/1.0 400 Bad Request\r\n\r\nno such level\n", set);
        assert_eq!(made, Err("no such level".to_owned()));
        let (_, made) = answered("HTTP/1.0 404 Not Found\r\n\r\n", set);
        assert!(made.unwrap_err().contains("does not serve /log (HTTP/1.0 404 Not Found)"));
        let (_, made) = answered("SSH-2.0-other\r\n", set);
        assert!(made.unwrap_err().contains("is not an agent"));
    }

    #[test]
    fn an_agent_that_does_not_run_is_reported() {
        // Bound and closed again: no server listens there.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = format!("{:#}", set(address).unwrap_err());
        assert!(error.contains(&format!("cannot reach the agent at {address}")), "{error}");
    }
}
