//! Who a request may claim to talk to.
//!
//! A web page whose own name resolves to 127.0.0.1 (DNS rebinding) reaches every server on loopback with its name in
//! `Host`. So a request is served only when the name is a loopback one or was allowed. It never resolves anything.

use std::net::IpAddr;

use super::refusal::Refusal;

/// The names in `Host` and `Origin` that are served.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    any: bool,
    allowed: Vec<String>,
}

impl Hosts {
    /// Loopback names only: `localhost`, 127.0.0.0/8 and `[::1]`, with any port.
    pub fn loopback() -> Self {
        Self::default()
    }

    /// Every name, which gives up the guard against DNS rebinding.
    pub fn any() -> Self {
        Self { any: true, allowed: Vec::new() }
    }

    /// Loopback names and these.
    pub fn with(allowed: impl IntoIterator<Item = String>) -> Self {
        Self { any: false, allowed: allowed.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Checks the authority of an absolute target, the `Host` fields and the `Origin` fields of one request.
    ///
    /// A missing or empty `Host` passes: old HTTP/1.0 clients send none, and no browser does without.
    pub(super) fn check<'a>(
        &self,
        authority: Option<&str>,
        mut hosts: impl Iterator<Item = &'a [u8]>,
        origins: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Refusal> {
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Refusal::new(400, "more than one Host"));
        }
        let named = [authority.map(str::as_bytes), host].into_iter().flatten();
        if !named.filter(|name| !name.is_empty()).all(|name| self.serves(name)) {
            return Err(Refusal::new(421, "this Host is not served here, only loopback names are"));
        }
        if origins.into_iter().all(|origin| self.serves_origin(origin)) {
            return Ok(());
        }
        Err(Refusal::new(403, "this Origin may not use the locks"))
    }

    fn serves_origin(&self, origin: &[u8]) -> bool {
        let name = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        self.any || name.is_some_and(|name| self.serves(name))
    }

    fn serves(&self, authority: &[u8]) -> bool {
        let Some(name) = std::str::from_utf8(authority).ok().and_then(without_port) else { return self.any };
        let name = name.to_ascii_lowercase();
        self.any || is_loopback(&name) || self.allowed.contains(&name)
    }
}

fn is_loopback(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The name without `:port`; `None` when it is no authority at all (user names are refused).
fn without_port(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at(end);
    let digits = port.strip_prefix(':').unwrap_or(port);
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains('@')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> bool {
        Hosts::loopback().check(None, [name.as_bytes()].into_iter(), std::iter::empty()).is_ok()
    }

    #[test]
    fn loopback_names_are_served_with_and_without_port() {
        for name in
            ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.9.9.9:13131", "[::1]", "[::1]:8080", "", "localhost."]
        {
            assert!(host(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:8080",
            "[::2]",
            "[::1",
            "localhost:80:80",
            "user@localhost",
            "localhost:8080@evil.example",
            "\u{e9}",
        ] {
            assert!(!host(name), "{name}");
        }
    }

    #[test]
    fn an_allowed_name_is_served() {
        let hosts = Hosts::with(["Sidecar.local".to_owned()]);
        assert!(hosts.serves(b"sidecar.LOCAL:8080"));
        assert!(hosts.serves(b"localhost"));
        assert!(!hosts.serves(b"other.local"));
        assert!(Hosts::any().serves(b"other.local"));
    }

    #[test]
    fn a_foreign_origin_is_refused_even_with_a_good_host() {
        let check = |origin: &str| {
            let host: &[u8] = b"localhost";
            Hosts::loopback().check(None, [host].into_iter(), [origin.as_bytes()].into_iter())
        };
        assert_eq!(check("https://evil.example").unwrap_err().status, 403);
        assert_eq!(check("null").unwrap_err().status, 403);
        assert!(check("http://localhost:3000").is_ok());
    }

    #[test]
    fn the_authority_of_an_absolute_target_counts_as_a_host() {
        let host: &[u8] = b"localhost";
        let refused = Hosts::loopback().check(Some("evil.example"), [host].into_iter(), std::iter::empty());
        assert_eq!(refused.unwrap_err().status, 421);
    }
}
