//! Proxies between us and the API server, as the kubeconfig's `proxy-url` or `HTTPS_PROXY` asks for.

use http::Uri;

use super::{Dials, NoDial};

/// The proxy of a configuration.
///
/// kube compares `NO_PROXY` with the proxy's own host, so it is looked at again here; a `proxy-url` of the kubeconfig is
/// meant for this cluster, whatever `NO_PROXY` says.
pub(super) fn of(config: &kube::Config) -> Option<Uri> {
    let proxy = config.proxy_url.clone()?;
    let exempt = from_environment(&proxy) && is_exempt(&proxy, &config.cluster_url);
    (!exempt).then_some(proxy)
}

/// Says whether a proxy is that of `HTTPS_PROXY`.
pub(in crate::transport) fn from_environment(proxy: &Uri) -> bool {
    let named = |name| std::env::var(name).ok().and_then(|value| value.parse::<Uri>().ok());
    ["HTTPS_PROXY", "https_proxy"].into_iter().any(|name| named(name).as_ref() == Some(proxy))
}

#[cfg(any(feature = "http-proxy", feature = "socks5"))]
fn is_exempt(proxy: &Uri, server: &Uri) -> bool {
    let no = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    matcher(proxy).no(no).build().intercept(server).is_none()
}

/// Nothing here can read `NO_PROXY`.
#[cfg(not(any(feature = "http-proxy", feature = "socks5")))]
fn is_exempt(_: &Uri, _: &Uri) -> bool {
    false
}

#[cfg(any(feature = "http-proxy", feature = "socks5"))]
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
