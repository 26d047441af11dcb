//! `ascend-center policy explain`

use std::{
    io::{self, Write},
    path::Path,
};

use ascend_center::{ActionExplanation, CallDescription, DecideError, PolicySet};

use super::show;
use crate::{
    card::{ascii_json, shown},
    config::Config,
    say,
};

pub(super) async fn explain(
    config: &Config,
    action: &str,
    set: &PolicySet,
    all: bool,
    json: bool,
) -> anyhow::Result<()> {
    let Ok(id) = action.parse::<i64>() else {
        let explanation = set.explain(&CallDescription::read(Path::new(action))?);
        if json {
            say(&ascii_json(&serde_json::to_string_pretty(&explanation)?))?;
        } else {
            let mut out = io::stdout().lock();
            show::explanation(&mut out, &explanation, all)?;
            out.flush()?;
        }
        return Ok(());
    };
    let center = config.existing(|config| config).await?;
    let explained = center.explain(id, set).await;
    center.close().await;
    let Some(explained) = explained? else { return Err(DecideError::Unknown(id).into()) };
    if json {
        return Ok(say(&ascii_json(&serde_json::to_string_pretty(&explained)?))?);
    }
    let ActionExplanation { record, explanation, shadow, .. } = &explained;
    let mut out = io::stdout().lock();
    writeln!(out, "Action {id}, asked {}, now {}", record.created_at, record.state)?;
    show::explanation(&mut out, explanation, all)?;
    if (record.decision, record.risk_score) != (explanation.decision, explanation.risk_score) {
        writeln!(out)?;
        writeln!(
            out,
            "When it was asked it was decided otherwise: {}, risk {}: {}",
            record.decision,
            record.risk_score,
            shown(&record.reason)
        )?;
    }
    if let Some(shadow) = shadow {
        writeln!(out)?;
        writeln!(
            out,
            "The shadow policies said {}: {}, risk {}: {}",
            if shadow.differs { "otherwise" } else { "the same" },
            shadow.decision,
            shadow.risk_score,
            shown(&shadow.reason)
        )?;
    }
    Ok(out.flush()?)
}
