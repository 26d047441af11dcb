//! The log outside the database: as lines of JSON, which can be verified by
//! themselves, and as CSV for spreadsheets.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    AuditEntry, AuditError, AuditReport, EntryHash, Head, PublicKey, Signature, Signed, Start,
    Tampering, Verifier, Witness, canonical, chain,
};

/// One step through a log.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Start(Start),
    Checkpoint { text: &'a [u8], signature: &'a [u8] },
    Entry { entry: &'a AuditEntry, text: &'a [u8], hash: EntryHash },
    Head { text: &'a [u8], signature: &'a [u8] },
}

/// A signed head of a log: who keeps it elsewhere can show later that
/// everything up to it still stands.
///
/// As text it is one line of JSON, the same as in an exported log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    head: Head,
    signed: Signed,
}

impl SignedHead {
    pub(crate) fn of(signed: Signed) -> Result<Self, serde_json::Error> {
        Ok(Self { head: serde_json::from_str(&signed.text)?, signed })
    }

    /// What is signed.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether one of `keys` has signed it; with no keys, the one that it names.
    #[must_use]
    pub fn is_signed_by(&self, keys: &[PublicKey]) -> bool {
        let text = self.signed.text.as_bytes();
        chain::read::<Head>(text, self.signed.signature.as_bytes(), keys).is_ok()
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signed { text, signature } = &self.signed;
        write!(f, "{{\"head\":{text},\"signature\":\"{signature}\"}}")
    }
}

/// Text that is no signed head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the line that `ascend-center audit head` writes")]
pub struct NotAHead;

impl FromStr for SignedHead {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        match serde_json::from_str(text.trim()) {
            Ok(Line { head: Some(head), signature: Some(signature), .. }) => {
                let text = head.get().to_owned();
                Self::of(Signed { text, signature }).map_err(|_| NotAHead)
            }
            _ => Err(NotAHead),
        }
    }
}

/// One line of an exported log, by what stands in it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line<'a> {
    start: Option<StartLine>,
    #[serde(borrow)]
    checkpoint: Option<&'a RawValue>,
    #[serde(borrow)]
    entry: Option<&'a RawValue>,
    hash: Option<EntryHash>,
    #[serde(borrow)]
    head: Option<&'a RawValue>,
    signature: Option<Signature>,
}

/// Where a part of a log begins.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartLine {
    seq: i64,
    hash: EntryHash,
}

/// Writes a step as a line of JSON.
pub(crate) fn write_json(out: &mut dyn Write, step: &Step<'_>) -> Result<(), AuditError> {
    let mut line = |parts: &[&[u8]]| -> io::Result<()> {
        for part in parts {
            out.write_all(part)?;
        }
        out.write_all(b"\"}\n")
    };
    match step {
        Step::Start(Start { seq, hash, .. }) => {
            let start = canonical(&StartLine { seq: *seq, hash: *hash })?;
            writeln!(out, "{{\"start\":{start}}}")?;
        }
        Step::Checkpoint { text, signature } => {
            let signature = hex::encode(signature);
            line(&[b"{\"checkpoint\":", text, b",\"signature\":\"", signature.as_bytes()])?;
        }
        Step::Entry { text, hash, .. } => {
            line(&[b"{\"entry\":", text, b",\"hash\":\"", hash.to_string().as_bytes()])?;
        }
        Step::Head { text, signature } => {
            let signature = hex::encode(signature);
            line(&[b"{\"head\":", text, b",\"signature\":\"", signature.as_bytes()])?;
        }
    }
    Ok(())
}

/// The columns of the CSV, in this order. New ones are added at the end.
const COLUMNS: [&str; 28] = [
    "seq",
    "at",
    "kind",
    "actor_role",
    "actor",
    "action",
    "state",
    "expires_at",
    "decision",
    "refusal",
    "risk_score",
    "risk_level",
    "reason",
    "comment",
    "policies",
    "policy_set",
    "server",
    "tool",
    "namespace",
    "verb",
    "digest",
    "claimed_digest",
    "content",
    "outcome",
    "duration_ms",
    "subject",
    "detail",
    "hash",
];

pub(crate) fn write_csv_heading(out: &mut dyn Write) -> Result<(), AuditError> {
    write_row(out, COLUMNS.map(str::to_owned))
}

/// Writes an entry as a line of CSV; other steps have none.
pub(crate) fn write_csv(out: &mut dyn Write, step: &Step<'_>) -> Result<(), AuditError> {
    let Step::Entry { entry, hash, .. } = step else { return Ok(()) };
    let event = &entry.event;
    fn text<T: ToString>(value: &Option<T>) -> String {
        value.as_ref().map(ToString::to_string).unwrap_or_default()
    }
    write_row(
        out,
        [
            entry.seq.to_string(),
            super::written(entry.at),
            event.kind.to_string(),
            event.actor.role.to_string(),
            event.actor.name.clone(),
            text(&event.action),
            text(&event.state),
            text(&event.expires_at.map(super::written)),
            text(&event.decision),
            text(&event.refusal),
            text(&event.risk_score),
            text(&event.risk_level),
            text(&event.reason),
            text(&event.comment),
            event.policies.join(" "),
            text(&event.policy_set),
            text(&event.server),
            text(&event.tool),
            text(&event.namespace),
            text(&event.verb),
            text(&event.digest),
            text(&event.claimed_digest),
            text(&event.content),
            text(&event.outcome),
            text(&event.duration_ms),
            text(&event.subject),
            text(&event.detail),
            hash.to_string(),
        ],
    )
}

/// As RFC 4180 has it. A cell that a spreadsheet would take for a formula
/// begins with an apostrophe.
fn write_row(out: &mut dyn Write, cells: [String; COLUMNS.len()]) -> Result<(), AuditError> {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        let is_formula =
            cell.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
                || cell.starts_with(['\t', '\r', '\n']);
        let guard = if is_formula { "'" } else { "" };
        if is_formula || cell.contains(['"', ',', '\r', '\n', ';', '\t', '\'']) {
            write!(out, "\"{guard}{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")?;
    Ok(())
}

/// Verifies an exported log, without the center that wrote it. With no `keys`,
/// any key may have signed: compare those in the report with what you know.
///
/// # Errors
///
/// [`AuditError::Broken`] names the first entry that does not stand as it was
/// written.
pub fn verify_audit_file(
    path: &Path,
    keys: &[PublicKey],
    head: Option<&SignedHead>,
) -> Result<AuditReport, AuditError> {
    let failed = |problem: String| AuditError::File { file: path.display().to_string(), problem };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let witness = head.map(|head| Witness::new(head.head()));
    let mut verifier: Option<Verifier<'_>> = None;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let unfit = |problem: &str| failed(format!("line {}: {problem}", index + 1));
        let text = line.map_err(|error| unfit(&error.to_string()))?;
        let line: Line<'_> =
            serde_json::from_str(&text).map_err(|error| unfit(&error.to_string()))?;
        let taken = match (verifier, line) {
            (None, Line { start: Some(StartLine { seq, hash }), .. }) => {
                Verifier::new(keys, Start { chain: None, seq, hash })
            }
            (None, Line { checkpoint: Some(text), signature: Some(signature), .. }) => {
                let checkpoint: super::Checkpoint =
                    serde_json::from_str(text.get()).map_err(|error| unfit(&error.to_string()))?;
                let text = text.get().as_bytes();
                Verifier::after_checkpoint(keys, checkpoint.seq, text, signature.as_bytes())?.0
            }
            (Some(mut verifier), Line { entry: Some(text), hash: Some(hash), .. }) => {
                verifier.entry(None, text.get().as_bytes(), hash.as_bytes())?;
                verifier
            }
            (Some(mut verifier), Line { head: Some(text), signature: Some(signature), .. }) => {
                verifier.head(text.get().as_bytes(), signature.as_bytes())?;
                verifier
            }
            (None, _) => return Err(unfit("an exported log begins with `start` or `checkpoint`")),
            (Some(_), _) => return Err(unfit("expected an entry or a signed head")),
        };
        if let Some(witness) = &witness {
            witness.compare(&taken)?;
        }
        verifier = Some(taken);
    }
    let verifier = verifier.ok_or_else(|| failed("it is empty".to_owned()))?;
    if verifier.signed() < verifier.seq() {
        return Err(verifier.broken(Tampering::Unsigned).into());
    }
    if let Some(witness) = &witness {
        if witness.seq() < verifier.start() {
            return Err(AuditError::HeadBefore(witness.seq()));
        }
        witness.conclude(&verifier)?;
    }
    Ok(verifier.report())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let mut cells: [String; COLUMNS.len()] = std::array::from_fn(|_| String::new());
        for (cell, text) in cells.iter_mut().zip([
            "=cmd|' /C calc'!A0",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            " =1",
            "＝1",
            "a,\"b\"\r\nc",
            "plain",
        ]) {
            *cell = text.to_owned();
        }
        let mut out = Vec::new();
        write_row(&mut out, cells).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"'=cmd|' /C calc'!A0\",\"'+1\",\"'-1\",\"'@SUM(A1)\",\"'\t=1\",\"' =1\",\"'＝1\",\
             \"a,\"\"b\"\"\r\nc\",plain,,,,,,,,,,,,,,,,,,,\r\n"
        );
    }
}
