//! Where a request comes from, and which host it is for.

use std::{fmt, net::IpAddr, net::SocketAddr, str::FromStr};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;

use super::{Face, Problem};

/// The addresses of a proxy that is trusted: one, or a network as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNetwork(IpNet);

/// Not the addresses of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an address or a network, such as 10.0.0.1 or 10.0.0.0/8")]
pub struct InvalidProxyNetwork;

impl FromStr for ProxyNetwork {
    type Err = InvalidProxyNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidProxyNetwork> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| InvalidProxyNetwork)
    }
}

impl fmt::Display for ProxyNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which requests are let in at all.
#[derive(Debug, Clone)]
pub(super) struct Door {
    hosts: Vec<String>,
    proxies: Vec<ProxyNetwork>,
    tls: bool,
}

/// Who sends a request, as far as addresses tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// The origin of the center's own pages, as a browser names it.
    pub(super) origin: String,
}

impl Door {
    pub(super) fn new(more: Vec<String>, proxies: Vec<ProxyNetwork>, tls: bool) -> Self {
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let more = more.into_iter().map(|host| host.to_ascii_lowercase());
        Self { hosts: loopback.into_iter().chain(more).collect(), proxies, tls }
    }

    fn allow(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port))
                if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                name
            }
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        self.hosts.contains(&name)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().any(|proxy| proxy.0.contains(&address))
    }

    fn admit(&self, peer: IpAddr, uri: &Uri, headers: &HeaderMap) -> Result<Client, Problem> {
        let peer = peer.to_canonical();
        let proxied = self.trusts(peer);
        if !self.proxies.is_empty() && !proxied && !peer.is_loopback() {
            return Err(Problem::forbidden("this center is reached through its proxy alone"));
        }
        let foreign =
            || Problem::forbidden("the request is for a host that this center does not serve");
        // A page in a browser can have its own name resolve to this machine;
        // the `Host` header tells.
        let host = once(headers, header::HOST.as_str()).ok_or_else(foreign)?;
        // A request line in absolute form carries a host of its own.
        let named = uri.host();
        let forwarded = |name| if proxied { once(headers, name) } else { None };
        let host = forwarded("x-forwarded-host").unwrap_or(host);
        if !self.allow(host) || named.is_some_and(|name| !self.allow(name)) {
            return Err(foreign());
        }
        let scheme = if self.tls {
            "https"
        } else if proxied {
            // A proxy is there for its TLS.
            forwarded("x-forwarded-proto").unwrap_or("https")
        } else {
            "http"
        };
        let address = if proxied { self.sender(headers).unwrap_or(peer) } else { peer };
        Ok(Client { address, origin: origin(scheme, host) })
    }

    /// The last address that no trusted proxy has: what stands before it is
    /// what that one claims.
    fn sender(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all("x-forwarded-for").iter();
        let mut chain = Vec::new();
        for value in values {
            chain.extend(value.to_str().ok()?.split(','));
        }
        for hop in chain.into_iter().rev() {
            let hop = hop.trim();
            let address = hop
                .parse::<IpAddr>()
                .or_else(|_| hop.parse::<SocketAddr>().map(|hop| hop.ip()))
                .ok()?
                .to_canonical();
            if !self.trusts(address) {
                return Some(address);
            }
        }
        None
    }
}

/// The header's value, unless it is sent several times or is no text.
pub(super) fn once<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A browser leaves the port away where it is the scheme's own.
fn origin(scheme: &str, host: &str) -> String {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(port).unwrap_or(host);
    format!("{scheme}://{host}").to_ascii_lowercase()
}

/// Lets in what is for this center, with its [`Client`].
pub(super) async fn check_host(
    State(face): State<Face>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    match face.door.admit(peer.ip(), request.uri(), request.headers()) {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(
        door: &Door,
        peer: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Option<(String, String)> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        let peer = peer.parse().expect("an address");
        let client = door.admit(peer, &Uri::from_static("/health"), &headers).ok()?;
        Some((client.address.to_string(), client.origin))
    }

    fn client(address: &str, origin: &str) -> Option<(String, String)> {
        Some((address.to_owned(), origin.to_owned()))
    }

    #[test]
    fn only_named_hosts_are_served() {
        let door = Door::new(vec!["Center.example".to_owned()], Vec::new(), false);
        for host in ["localhost", "127.0.0.1:8787", "[::1]:80", "LOCALHOST:1", "center.example"] {
            assert!(door.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "::1",
            "localhost:x",
        ] {
            assert!(!door.allow(host), "{host}");
        }
        let host = ("host", "localhost:8787");
        assert_eq!(
            admit(&door, "127.0.0.1", &[host]),
            client("127.0.0.1", "http://localhost:8787")
        );
        assert_eq!(admit(&door, "127.0.0.1", &[]), None, "no host");
        assert_eq!(admit(&door, "127.0.0.1", &[host, host]), None, "two hosts");
    }

    #[test]
    fn what_is_forwarded_counts_from_the_proxy_alone() {
        let proxies = ["10.0.0.0/8", "fd00::1"].map(|text| text.parse().expect("a network"));
        let door = Door::new(vec!["center.example".to_owned()], proxies.to_vec(), false);
        let host = ("host", "center.example");
        let from = ("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.7");
        let seen = client("203.0.113.9", "https://center.example");
        assert_eq!(admit(&door, "10.1.2.3", &[host, from]), seen);
        assert_eq!(admit(&door, "::ffff:10.1.2.3", &[host, from]), seen);
        assert_eq!(admit(&door, "fd00::1", &[host, from]), seen);
        // Not through the proxy.
        assert_eq!(admit(&door, "203.0.113.9", &[host, from]), None);
        // On this machine, past the proxy: what it claims is not believed.
        let claims = [("host", "localhost"), from, ("x-forwarded-host", "center.example")];
        assert_eq!(admit(&door, "127.0.0.1", &claims), client("127.0.0.1", "http://localhost"));
        // The proxy tells for which host and by which scheme it was asked.
        let told = [
            ("host", "internal:8787"),
            ("x-forwarded-host", "center.example:443"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(admit(&door, "10.0.0.1", &told), client("10.0.0.1", "https://center.example"));
        let evil = [host, ("x-forwarded-host", "evil.example")];
        assert_eq!(admit(&door, "10.0.0.1", &evil), None);
        let broken = [host, ("x-forwarded-for", "nonsense")];
        assert_eq!(admit(&door, "10.0.0.1", &broken), client("10.0.0.1", "https://center.example"));
        assert!("10.0.0.0/33".parse::<ProxyNetwork>().is_err());
    }

    #[test]
    fn a_browser_names_the_origin_so() {
        assert_eq!(origin("https", "Center.example:443"), "https://center.example");
        assert_eq!(origin("http", "localhost:80"), "http://localhost");
        assert_eq!(origin("https", "center.example:80"), "https://center.example:80");
    }
}
