//! Where webhooks may lead. Whoever registers one makes the center send
//! requests, which must not reach what only the center can reach.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Hosts that may have any address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Targets {
    trusted: Arc<BTreeSet<String>>,
    /// Whether all agents are on this machine, and reach what is on it by themselves.
    agents_are_here: bool,
}

/// Why a webhook may not lead there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it is no URL")]
    NoUrl,
    #[error("it must begin with `https://`; `http://` is for loopback alone")]
    NotHttps,
    #[error("it must not hold a user name, a password or a fragment")]
    Decorated,
    #[error("its host has a link-local, multicast or metadata address")]
    Forbidden,
    #[error("an agent elsewhere cannot name this machine; an admin can, or --allow-webhook-host")]
    Loopback,
}

impl Targets {
    pub(crate) fn new(trusted: impl IntoIterator<Item = String>) -> Self {
        let trusted = trusted.into_iter().map(|host| host.to_ascii_lowercase());
        Self { trusted: Arc::new(trusted.collect()), agents_are_here: false }
    }

    /// Tells whether all agents are on this machine.
    pub(crate) fn agents_are_here(self, agents_are_here: bool) -> Self {
        Self { agents_are_here, ..self }
    }

    /// The same as [`check`](Self::check), for a webhook that is an agent's, or nobody's.
    pub(crate) fn check_of(&self, agent: Option<&str>, text: &str) -> Result<Url, Unfit> {
        let url = self.check(text)?;
        let host = url.host_str().unwrap_or_default();
        if agent.is_some()
            && is_loopback(host)
            && !self.agents_are_here
            && !self.trusted.contains(host)
        {
            return Err(Unfit::Loopback);
        }
        Ok(url)
    }

    /// The URL, when a webhook may lead there as far as its text tells.
    fn check(&self, text: &str) -> Result<Url, Unfit> {
        let url: Url = text.parse().map_err(|_| Unfit::NoUrl)?;
        let host = url.host_str().ok_or(Unfit::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(Unfit::Decorated);
        }
        let address = address(host);
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            _ => return Err(Unfit::NotHttps),
        }
        if !self.trusted.contains(host) && address.is_some_and(is_forbidden) {
            return Err(Unfit::Forbidden);
        }
        Ok(url)
    }

    /// The addresses of a host that may be connected to. A name could have
    /// another address now than when it was registered.
    fn allowed(&self, host: &str, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if self.trusted.contains(host) {
            return addresses;
        }
        let is_local = host == "localhost";
        addresses
            .into_iter()
            .filter(|address| {
                let address = plain(address.ip());
                if is_local {
                    address.is_loopback()
                } else {
                    !address.is_loopback() && !is_forbidden(address)
                }
            })
            .collect()
    }
}

impl Resolve for Targets {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let addresses = tokio::net::lookup_host((&*host, 0)).await?.collect();
            let allowed = targets.allowed(&host, addresses);
            if allowed.is_empty() {
                return Err(io::Error::other(Unfit::Forbidden).into());
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| plain(address).is_loopback())
}

/// An IPv4 address that is written as IPv6 is that IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let [head @ .., high, low] = v6.segments();
    if head == NAT64 {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address
}

/// Where clouds keep their machines' credentials, besides link-local addresses.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

fn is_forbidden(address: IpAddr) -> bool {
    let address = plain(address);
    let is_special = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_special || address.is_unspecified() || address.is_multicast() || METADATA.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_elsewhere_does_not_name_this_machine() {
        let elsewhere = Targets::default();
        let here = Targets::default().agents_are_here(true);
        let trusting = Targets::new(["localhost".to_owned()]);
        for url in
            ["http://localhost:1/", "http://127.0.0.1/", "https://[::1]/", "https://127.9.9.9/"]
        {
            assert_eq!(elsewhere.check_of(Some("billing"), url), Err(Unfit::Loopback), "{url}");
            assert!(
                elsewhere.check(url).is_ok() && here.check_of(Some("billing"), url).is_ok(),
                "{url}"
            );
        }
        assert!(trusting.check_of(Some("billing"), "http://localhost:1/").is_ok());
        assert!(elsewhere.check_of(Some("billing"), "https://hooks.example/").is_ok());
    }

    #[test]
    fn a_webhook_leads_to_https_or_to_this_machine() {
        let targets = Targets::default();
        for url in [
            "https://hooks.example/a?b=c",
            "https://10.0.0.7:8443/",
            "http://localhost:9000/x",
            "http://127.0.0.1:1/",
            "http://[::1]/",
            "https://[2001:db8::1]/",
        ] {
            assert!(targets.check(url).is_ok(), "{url}");
        }
        for (url, expected) in [
            ("hooks.example", Unfit::NoUrl),
            ("file:///etc/passwd", Unfit::NoUrl),
            ("ftp://hooks.example/", Unfit::NotHttps),
            ("http://hooks.example/", Unfit::NotHttps),
            ("http://localhost.evil.example/", Unfit::NotHttps),
            ("http://10.0.0.7/", Unfit::NotHttps),
            ("https://user@hooks.example/", Unfit::Decorated),
            ("https://169.254.169.254/latest", Unfit::Forbidden),
            ("https://[fe80::1]/", Unfit::Forbidden),
            ("https://[::ffff:169.254.169.254]/", Unfit::Forbidden),
            ("https://[64:ff9b::a9fe:a9fe]/", Unfit::Forbidden),
            ("https://2852039166/", Unfit::Forbidden),
            ("https://[fd00:ec2::254]/", Unfit::Forbidden),
            ("https://0.0.0.0/", Unfit::Forbidden),
            ("https://224.0.0.1/", Unfit::Forbidden),
        ] {
            assert_eq!(targets.check(url), Err(expected), "{url}");
        }
        let trusting = Targets::new(["169.254.169.254".to_owned()]);
        assert!(trusting.check("https://169.254.169.254/").is_ok());
    }

    #[test]
    fn a_name_does_not_lead_to_what_its_address_may_not() {
        let addresses = || {
            ["127.0.0.1:0", "169.254.169.254:0", "10.0.0.7:0", "[::1]:0", "203.0.113.7:0"]
                .map(|address| address.parse().expect("an address"))
                .to_vec()
        };
        let told = |targets: Targets, host| {
            let allowed = targets.allowed(host, addresses()).into_iter();
            allowed.map(|address: SocketAddr| address.ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(Targets::default(), "hooks.example"), ["10.0.0.7", "203.0.113.7"]);
        assert_eq!(told(Targets::default(), "localhost"), ["127.0.0.1", "::1"]);
        let trusting = Targets::new(["Hooks.example".to_owned()]);
        assert_eq!(told(trusting, "hooks.example").len(), 5);
    }
}
