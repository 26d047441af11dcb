//! What others reach: the center's address, its certificate, and the identity
//! provider.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use reqwest::{Certificate, Client, redirect::Policy};
use serde_json::Value;

use super::Checks;
use crate::{card, config::Settings};

const TIMEOUT: Duration = Duration::from_secs(5);
/// A certificate that ends sooner needs another.
const SOON: i64 = 21 * 24 * 3600;

/// Asks the center that is served at the configured address, if there is one.
pub(super) async fn listening(checks: &mut Checks, settings: &Settings, authority: Option<&Path>) {
    let scheme = if settings.tls_cert.is_some() { "https" } else { "http" };
    let address = SocketAddr::new(of_this_machine(settings.listen.ip()), settings.listen.port());
    // A certificate is for the name, which may lead elsewhere from here.
    let host = settings.allow_host.first().filter(|_| scheme == "https");
    let url = match host {
        Some(host) => format!("{scheme}://{host}:{}/health", address.port()),
        None => format!("{scheme}://{address}/health"),
    };
    let mut builder = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).no_proxy();
    if let Some(host) = host {
        builder = builder.resolve(host, address);
    }
    for file in authority.into_iter().chain(settings.tls_cert.as_deref()) {
        let read = std::fs::read(file).ok();
        if let Some(Ok(certificates)) = read.map(|pem| Certificate::from_pem_bundle(&pem)) {
            builder = builder.tls_certs_merge(certificates);
        }
    }
    let answer = match builder.build() {
        Ok(http) => http.get(&url).send().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) if answer.status().is_success() => {
            let health: Value = answer.json().await.unwrap_or_default();
            if health["policies"]["newer_refused"] == true {
                checks.warn(
                    "server",
                    format!("{url}: it goes on with the earlier policies, newer ones are refused"),
                    "`ascend-center policy check` says why",
                );
            } else {
                checks.ok("server", format!("{url}: {}", health["status"].as_str().unwrap_or("?")));
            }
        }
        Ok(answer) => checks.error(
            "server",
            format!("{url} answers {}", answer.status()),
            "look at its log; or something else listens there: choose another with --listen",
        ),
        Err(error) if error.is_connect() && !is_tls(&error) => checks.warn(
            "server",
            format!("nothing is served at {}", settings.listen),
            "`ascend-center serve` serves it",
        ),
        Err(error) => checks.error(
            "server",
            format!("{url}: {:#}", anyhow::Error::new(error.without_url())),
            "look at its log; where its certificate is not trusted here, name the authority with \
             --ca-cert",
        ),
    }
}

fn is_tls(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string().contains("certificate") {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Where this machine reaches what listens at all its addresses.
fn of_this_machine(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

pub(super) fn certificate(checks: &mut Checks, settings: &Settings) {
    let Some(file) = &settings.tls_cert else { return };
    match expiry(file) {
        Ok(at) => {
            let found = format!("{}: good until {}", file.display(), card::moment(at));
            let left = at.as_second() - Timestamp::now().as_second();
            let advice = "renew it, and restart `ascend-center serve`";
            if left <= 0 {
                checks.error("certificate", found, advice);
            } else if left < SOON {
                checks.warn("certificate", found, advice);
            } else {
                checks.ok("certificate", found);
            }
        }
        Err(problem) => checks.error(
            "certificate",
            format!("{}: {problem}", file.display()),
            "`tls_cert` takes a certificate chain as PEM, the center's own first",
        ),
    }
}

/// When the first certificate in a PEM file ends.
fn expiry(file: &Path) -> Result<Timestamp, String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).map_err(|error| error.to_string())?;
    let certificate = pem.parse_x509().map_err(|error| error.to_string())?;
    let end = certificate.validity().not_after.timestamp();
    Timestamp::from_second(end).map_err(|error| error.to_string())
}

/// Whether the identity provider describes itself where it should.
#[cfg(feature = "oidc")]
pub(super) async fn provider(checks: &mut Checks, settings: &Settings) {
    let Some(issuer) = &settings.oidc.oidc_issuer else { return };
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let advice = "compare `oidc_issuer` with what the provider calls its issuer";
    let found = async {
        let http = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build()?;
        http.get(&url).send().await?.error_for_status()?.json::<Value>().await
    };
    match found.await {
        Ok(about) if about["issuer"] == issuer.as_str() => {
            checks.ok("provider", format!("{issuer} describes itself"));
        }
        Ok(about) => {
            let other = about["issuer"].as_str().unwrap_or("nothing");
            checks.error("provider", format!("{url} is of {other}"), advice);
        }
        Err(error) => {
            checks.error("provider", format!("{:#}", anyhow::Error::new(error)), advice);
        }
    }
}
