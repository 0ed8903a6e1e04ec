//! `--check`: asks the sidecar that runs beside it how it is, for the exec probes of a pod.
//!
//! A kubelet's HTTP probe comes to the pod's address, where nobody listens, and the image holds no other program. It
//! only asks, within a time of its own, and starts nothing.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::config::Config;
pub use crate::config::Probe;
use anyhow::{Context, Result, anyhow, bail};

/// For connecting, and for each wait for bytes. A kubelet allows the whole probe its `timeoutSeconds` anyway.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than any answer of these has.
const LONGEST: u64 = 64 * 1024;
const FIELDS: usize = 32;

/// Asks the sidecar that was started with the same ports and addresses.
///
/// # Errors
/// Nobody listens, the answer is not 200, or none comes in time: the message says which, with what was answered.
pub fn check(config: &Config, probe: Probe) -> Result<()> {
    let port = *config.ports.first().context("--check needs a port")?;
    if port == 0 {
        bail!("--check needs the port that the sidecar took: 0 stands for any");
    }
    let mut refused = anyhow!("--check needs an address");
    for &address in &config.bind {
        match connect(SocketAddr::new(reachable(address), port)) {
            Ok(stream) => return ask(stream, probe),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Where a listener on this address is reached from here.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("nobody listens on {address}"))
}

fn ask(mut stream: TcpStream, probe: Probe) -> Result<()> {
    let path = match probe {
        Probe::Healthz => "/healthz",
        Probe::Readyz => "/readyz",
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("the sidecar takes no request")?;
    let mut answer = Vec::new();
    // An answer that breaks off late is still an answer, so that only one without a head is an error.
    let ended = stream.take(LONGEST).read_to_end(&mut answer);
    let Some((status, body)) = read(&answer) else {
        ended.context("no answer")?;
        bail!("{path}: {} bytes that are no answer", answer.len());
    };
    match status {
        200 => Ok(()),
        _ => bail!("{path} answers {status} {}", body.trim()),
    }
}

/// Status and body; `None` when the head is not whole.
fn read(answer: &[u8]) -> Option<(u16, String)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else { return None };
    Some((head.code?, String::from_utf8_lossy(&answer[length..]).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use clap::Parser;

    use super::*;

    fn config(arguments: &[&str]) -> Config {
        Config::try_parse_from([&["msync-sidecar"], arguments].concat()).unwrap()
    }

    /// What a check says of a server that answers with these bytes, and what it was asked.
    fn checked(probe: Probe, answer: &'static [u8]) -> (Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(asked).unwrap()
        });
        let outcome = check(&config(&["--ports", &port, "--bind", "127.0.0.1"]), probe);
        (outcome, server.join().unwrap())
    }

    #[test]
    fn well_is_well() {
        let (outcome, asked) =
            checked(Probe::Readyz, b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}");
        outcome.unwrap();
        assert!(asked.starts_with("GET /readyz HTTP/1.1\r\n"), "{asked}");
        let (outcome, asked) = checked(Probe::Healthz, b"HTTP/1.1 200 OK\r\n\r\n");
        outcome.unwrap();
        assert!(asked.starts_with("GET /healthz HTTP/1.1\r\n"), "{asked}");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n{\"message\":\"the CRD is missing\"}";
        let text = format!("{:#}", checked(Probe::Readyz, answer).0.unwrap_err());
        assert!(text.contains("503") && text.contains("the CRD is missing"), "{text}");
    }

    #[test]
    fn half_an_answer_is_none() {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-nobody\r\n\r\n"] {
            let text = format!("{:#}", checked(Probe::Healthz, answer).0.unwrap_err());
            assert!(text.contains("no answer"), "{text}");
        }
    }

    #[test]
    fn nobody_there_is_told_with_the_address() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!("{:#}", check(&config(&["--ports", &free.port().to_string()]), Probe::Healthz).unwrap_err());
        assert!(text.contains("nobody listens on"), "{text}");
    }

    #[test]
    fn a_port_that_is_not_known_cannot_be_asked() {
        let text = format!("{:#}", check(&config(&["--ports", "0,0"]), Probe::Healthz).unwrap_err());
        assert!(text.contains("--check needs the port"), "{text}");
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(reachable("::".parse().unwrap()), IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(reachable("127.0.0.2".parse().unwrap()), "127.0.0.2".parse::<IpAddr>().unwrap());
    }
}
