//! Proxies between us and the API server, as the kubeconfig's `proxy-url` or `HTTPS_PROXY` asks for.

use std::net::IpAddr;

use http::Uri;

use super::{Dials, NoDial};

/// The proxy of a configuration.
///
/// kube compares `NO_PROXY` with the proxy's own host, so it is looked at again here, also by a build that can speak to no
/// proxy: whom it exempts needs none, and as for client-go, neither does a server on this machine. A `proxy-url` of the
/// kubeconfig is meant for this cluster, whatever `NO_PROXY` says.
pub(in crate::transport) fn of(config: &kube::Config) -> Option<Uri> {
    let proxy = config.proxy_url.clone()?;
    let exempt =
        from_environment(&proxy) && is_exempt(&proxy, &config.cluster_url, &exempted(|name| std::env::var(name).ok()));
    (!exempt).then_some(proxy)
}

/// Says whether a proxy is that of `HTTPS_PROXY`.
pub(in crate::transport) fn from_environment(proxy: &Uri) -> bool {
    let named = |name| std::env::var(name).ok().and_then(|value| value.parse::<Uri>().ok());
    ["HTTPS_PROXY", "https_proxy"].into_iter().any(|name| named(name).as_ref() == Some(proxy))
}

/// What `NO_PROXY` says in an environment.
fn exempted(environment: impl Fn(&str) -> Option<String>) -> String {
    ["NO_PROXY", "no_proxy"].into_iter().filter_map(environment).find(|hosts| !hosts.is_empty()).unwrap_or_default()
}

fn is_exempt(proxy: &Uri, server: &Uri, no: &str) -> bool {
    is_here(server) || matcher(proxy).no(no).build().intercept(server).is_none()
}

fn is_here(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn matcher(proxy: &Uri) -> hyper_util::client::proxy::matcher::Builder {
    hyper_util::client::proxy::matcher::Matcher::builder().all(proxy.to_string())
}

/// Makes the ways through a proxy.
pub(super) fn dials(proxy: &Uri, config: &kube::Config) -> Result<Dials, NoDial> {
    match proxy.scheme_str() {
        Some("socks5" | "socks5h") => socks5(proxy, config),
        // As curl and Go do, a proxy without a scheme is taken for an HTTP one.
        Some("http") | None => http(proxy, config),
        Some("https") => https(proxy, config),
        Some(_) => Err(NoDial::UnknownProxy { proxy: proxy.clone() }),
    }
}

#[cfg(any(feature = "http-proxy", feature = "socks5"))]
fn whither(proxy: &Uri, config: &kube::Config) -> String {
    let source = if from_environment(proxy) { "HTTPS_PROXY" } else { "proxy-url" };
    format!("the proxy {} ({source}), or by it to {}", super::shown(proxy), super::shown(&config.cluster_url))
}

#[cfg(feature = "socks5")]
fn socks5(proxy: &Uri, config: &kube::Config) -> Result<Dials, NoDial> {
    let mut socks = hyper_util::client::legacy::connect::proxy::SocksV5::new(proxy.clone(), super::tcp());
    let intercepted = matcher(proxy).build().intercept(&config.cluster_url);
    if let Some((user, password)) = intercepted.as_ref().and_then(|it| it.raw_auth()) {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    super::over(socks, &whither(proxy, config), config)
}

#[cfg(not(feature = "socks5"))]
fn socks5(proxy: &Uri, _: &kube::Config) -> Result<Dials, NoDial> {
    Err(NoDial::Proxy { proxy: proxy.clone(), feature: "socks5" })
}

#[cfg(feature = "http-proxy")]
fn http(proxy: &Uri, config: &kube::Config) -> Result<Dials, NoDial> {
    tunnel(super::tcp(), proxy, config)
}

/// The connection to the proxy is encrypted too, and trusts what the cluster's trusts, as kube has it.
#[cfg(all(feature = "http-proxy", any(feature = "__rustls", feature = "openssl-tls")))]
fn https(proxy: &Uri, config: &kube::Config) -> Result<Dials, NoDial> {
    let encrypted = super::over(super::tcp(), &super::shown(proxy), config)?.http1;
    tunnel(encrypted, proxy, config)
}

#[cfg(all(feature = "http-proxy", not(any(feature = "__rustls", feature = "openssl-tls"))))]
fn https(_: &Uri, _: &kube::Config) -> Result<Dials, NoDial> {
    Err(NoDial::NoTls)
}

#[cfg(feature = "http-proxy")]
fn tunnel(to_proxy: impl super::Connector, proxy: &Uri, config: &kube::Config) -> Result<Dials, NoDial> {
    let intercepted = matcher(proxy).build().intercept(&config.cluster_url);
    let address = intercepted.as_ref().map_or_else(|| proxy.clone(), |it| it.uri().clone());
    let mut tunnel = hyper_util::client::legacy::connect::proxy::Tunnel::new(address, to_proxy);
    if let Some(auth) = intercepted.as_ref().and_then(|it| it.basic_auth()) {
        tunnel = tunnel.with_auth(auth.clone());
    }
    super::over(tunnel, &whither(proxy, config), config)
}

#[cfg(not(feature = "http-proxy"))]
fn http(proxy: &Uri, _: &kube::Config) -> Result<Dials, NoDial> {
    Err(NoDial::Proxy { proxy: proxy.clone(), feature: "http-proxy" })
}

#[cfg(not(feature = "http-proxy"))]
fn https(proxy: &Uri, _: &kube::Config) -> Result<Dials, NoDial> {
    Err(NoDial::Proxy { proxy: proxy.clone(), feature: "http-proxy" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_no_proxy_exempts_is_reached_without_any_kind_of_proxy() {
        for proxy in ["http://proxy.corp:3128", "https://proxy.corp", "socks5://proxy.corp:1080", "proxy.corp:3128"] {
            let of = |server: &str, no: &str| is_exempt(&proxy.parse().unwrap(), &server.parse().unwrap(), no);
            for here in ["https://127.0.0.1:6443", "https://127.8.0.1", "https://[::1]:6443", "https://LocalHost:6443"]
            {
                assert!(of(here, ""), "{proxy} {here}");
            }
            assert!(of("https://api.dev.corp", "localhost,api.dev.corp"), "{proxy}");
            assert!(of("https://10.1.2.3:6443", "10.0.0.0/8"), "{proxy}");
            assert!(of("https://api.dev.corp", ".corp"), "{proxy}");
            assert!(of("https://api.dev.corp", "*"), "{proxy}");
            assert!(!of("https://api.dev.corp", ""), "{proxy}");
            assert!(!of("https://api.example.com", ".corp,proxy.corp,10.0.0.0/8"), "{proxy}");
            assert!(!of("https://localhost.example.com", "localhost"), "{proxy}");
            assert!(!of("https://192.0.2.1", "127.0.0.1"), "{proxy}");
        }
    }

    #[test]
    fn a_variable_that_is_empty_says_nothing() {
        let said = |large: Option<&str>, small: Option<&str>| {
            exempted(|name| if name == "NO_PROXY" { large } else { small }.map(str::to_owned))
        };
        assert_eq!(said(Some("a"), Some("b")), "a");
        assert_eq!(said(Some(""), Some("b")), "b");
        assert_eq!(said(None, Some("b")), "b");
        assert_eq!(said(None, None), "");
    }
}
