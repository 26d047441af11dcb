//! Logins by a company's identity provider.

use std::path::PathBuf;

use anyhow::Context as _;
use ascend_center::{OidcConfig, Role, UnknownRole};
use clap::Args;
use secrecy::SecretString;

#[derive(Debug, Clone, Args)]
pub(crate) struct OidcSettings {
    /// The issuer of an OpenID Connect provider, for logins by it
    #[arg(long, env = "ASCEND_CENTER_OIDC_ISSUER", value_name = "URL")]
    pub(crate) oidc_issuer: Option<String>,
    /// The center's client id at the provider
    #[arg(long, env = "ASCEND_CENTER_OIDC_CLIENT_ID", value_name = "ID")]
    oidc_client_id: Option<String>,
    /// The center's client secret at the provider; better in the variable or in
    /// a file, since others can see arguments
    #[arg(
        long,
        env = "ASCEND_CENTER_OIDC_CLIENT_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    oidc_client_secret: Option<SecretString>,
    /// A file that holds the client secret
    #[arg(long, env = "ASCEND_CENTER_OIDC_CLIENT_SECRET_FILE", value_name = "FILE")]
    oidc_client_secret_file: Option<PathBuf>,
    /// The address at which browsers reach the center; register
    /// `/api/v1/oidc/callback` there at the provider
    #[arg(long, env = "ASCEND_CENTER_OIDC_PUBLIC_URL", value_name = "URL")]
    oidc_public_url: Option<String>,
    /// The claim of the ID token that names a person's groups
    #[arg(long, env = "ASCEND_CENTER_OIDC_CLAIM", value_name = "CLAIM", default_value = "groups")]
    oidc_claim: String,
    /// The role of a group, such as `ops=approver`
    #[arg(
        long,
        env = "ASCEND_CENTER_OIDC_ROLE",
        value_name = "GROUP=ROLE",
        value_delimiter = ',',
        value_parser = group_role
    )]
    oidc_role: Vec<(String, Role)>,
}

fn group_role(text: &str) -> Result<(String, Role), String> {
    let (group, role) =
        text.rsplit_once('=').ok_or("expected a group and its role: ops=approver")?;
    let role = role.parse().map_err(|error: UnknownRole| error.to_string())?;
    Ok((group.to_owned(), role))
}

impl OidcSettings {
    pub(super) fn config(&self) -> anyhow::Result<Option<OidcConfig>> {
        let (Some(issuer), Some(id), Some(url)) =
            (&self.oidc_issuer, &self.oidc_client_id, &self.oidc_public_url)
        else {
            return Ok(None);
        };
        let mut config = OidcConfig::new(issuer, id, url).claim(&self.oidc_claim);
        let secret = match (&self.oidc_client_secret, &self.oidc_client_secret_file) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("`oidc_client_secret_file`: {}", file.display()))?;
                Some(text.trim().into())
            }
            (None, None) => None,
        };
        if let Some(secret) = secret {
            config = config.secret(secret);
        }
        let roles = self.oidc_role.iter().cloned();
        Ok(Some(roles.fold(config, |config, (group, role)| config.role(group, role))))
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let Some(_) = self.oidc_issuer else {
            let others = [
                ("oidc_client_id", self.oidc_client_id.is_some()),
                ("oidc_client_secret", self.oidc_client_secret.is_some()),
                ("oidc_client_secret_file", self.oidc_client_secret_file.is_some()),
                ("oidc_public_url", self.oidc_public_url.is_some()),
                ("oidc_role", !self.oidc_role.is_empty()),
            ];
            let set = others.into_iter().filter(|(_, set)| *set);
            return set
                .map(|(name, _)| {
                    format!("`{name}` is set, and means nothing without `oidc_issuer`")
                })
                .collect();
        };
        let needed = [
            ("oidc_client_id", self.oidc_client_id.is_some()),
            ("oidc_public_url", self.oidc_public_url.is_some()),
            ("oidc_role", !self.oidc_role.is_empty()),
        ];
        let missing = needed.into_iter().filter(|(_, set)| !set);
        missing.map(|(name, _)| format!("`oidc_issuer` is set: set `{name}` too")).collect()
    }
}
