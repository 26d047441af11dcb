//! `ascend-center doctor`: what is set, and whether all is well.

mod files;
mod reach;
mod record;

use std::path::Path;

use ascend_center::{Center, PolicyError, PolicySet};
use clap::Args;
use serde::Serialize;

use crate::{
    Unwell,
    card::{ascii_json, shown},
    config::{Config, Settings},
    say,
};

#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// Verify the whole audit log, not its end alone
    #[arg(long)]
    full: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    _settings: Settings,
}

/// What was looked at, and what came of it.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    standing: Standing,
    /// What was found.
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Ok,
    Warning,
    Error,
}

impl Standing {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// All that was looked at.
#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, name: &'static str, found: impl Into<String>) {
        let found = found.into();
        self.0.push(Check { name, standing: Standing::Ok, found, advice: None });
    }

    fn warn(&mut self, name: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        let (found, advice) = (found.into(), Some(advice.into()));
        self.0.push(Check { name, standing: Standing::Warning, found, advice });
    }

    fn error(&mut self, name: &'static str, found: impl ToString, advice: impl Into<String>) {
        let (found, advice) = (found.to_string(), Some(advice.into()));
        self.0.push(Check { name, standing: Standing::Error, found, advice });
    }
}

pub(crate) async fn doctor(
    config: &Config,
    arguments: &DoctorArguments,
    authority: Option<&Path>,
) -> anyhow::Result<()> {
    let mut checks = Checks::default();
    let mistakes = config.mistakes();
    for mistake in &mistakes {
        checks.error("configuration", mistake, "change what the list above says set it");
    }
    if mistakes.is_empty() {
        let file = config.file.as_ref();
        let file = file.map_or("no file".to_owned(), |file| file.display().to_string());
        checks.ok("configuration", file);
    }
    let directory = config.directory()?;
    let enforced = policies(&mut checks, config);
    let there = files::directory(&mut checks, &directory, config);
    if there {
        match Center::open(config.store()?).await {
            Ok(center) => {
                record::record(&mut checks, &center, arguments.full).await;
                if let Some(set) = &enforced {
                    record::groups(&mut checks, &center, set).await;
                }
                center.close().await;
            }
            Err(error) => checks.error(
                "database",
                error,
                "give the process the rights to it, or bring back a copy that was good",
            ),
        }
    }
    reach::listening(&mut checks, &config.settings, authority).await;
    reach::certificate(&mut checks, &config.settings);
    #[cfg(feature = "oidc")]
    reach::provider(&mut checks, &config.settings).await;
    tell(config, &checks, arguments.json)
}

fn tell(config: &Config, checks: &Checks, json: bool) -> anyhow::Result<()> {
    let wrong = checks.0.iter().filter(|check| check.standing == Standing::Error).count();
    if json {
        let all = serde_json::json!({
            "well": wrong == 0, "settings": config.told, "checks": checks.0,
        });
        say(&ascii_json(&serde_json::to_string_pretty(&all)?))?;
    } else {
        for told in &config.told {
            let value = told.value.as_deref().unwrap_or("-");
            say(&shown(&format!("{:<26} {value}  ({})", told.name, told.from)))?;
        }
        say("")?;
        for check in &checks.0 {
            let Check { name, standing, found, advice } = check;
            for (index, line) in found.lines().enumerate() {
                let (standing, name) =
                    if index == 0 { (standing.as_str(), *name) } else { ("", "") };
                say(&shown(&format!("{standing:<8} {name:<14} {line}")))?;
            }
            if let Some(advice) = advice {
                say(&shown(&format!("{:<23} -> {advice}", "")))?;
            }
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Unwell("1 thing is wrong".to_owned()).into()),
        wrong => Err(Unwell(format!("{wrong} things are wrong")).into()),
    }
}

/// The policies that are enforced, where they have no mistake.
fn policies(checks: &mut Checks, config: &Config) -> Option<PolicySet> {
    let mut check = |name, read: &Result<PolicySet, PolicyError>| match read {
        Ok(set) => {
            let summary = set.summary();
            checks.ok(name, format!("{} policies, no mistakes", summary.policies));
            for warning in summary.warnings {
                checks.warn(name, warning.to_string(), "look whether that is meant");
            }
        }
        Err(error) => {
            checks.error(name, error, "`ascend-center policy check` says the same after a change");
        }
    };
    let in_use = &config.settings.policies;
    let enforced = in_use.enforced();
    check("policies", &enforced);
    if let Some(shadow) = in_use.shadow() {
        check("shadow", &shadow);
    }
    enforced.ok()
}
