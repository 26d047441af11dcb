//! docs/approvals.md, followed.

use std::path::Path;

use ascend_center::{Center, CenterConfig};
use ascend_sdk::Authority as _;

use crate::support::{action_json, guide::Guide};

/// A center in which a deletion and a refund were asked for.
async fn record(directory: &Path) {
    let config = CenterConfig::new(directory.join("center"))
        .approver("alice")
        .policies(directory.join("policies"));
    let center = Center::open(config).await.unwrap();
    for verb in ["delete", "refund"] {
        let mut action = action_json("crm", verb, "crm://customers/7");
        action["tool"] = "customers".into();
        center.evaluate(&serde_json::from_value(action).unwrap()).await.unwrap();
    }
    center.close().await;
}

#[tokio::test]
async fn the_guide_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let guide = Guide::read("docs/approvals.md", include_str!("../../docs/approvals.md"));
    let files = guide.write(directory.path());
    record(directory.path()).await;
    let commands = guide.follow(directory.path());
    assert!((files, commands) == (2, 11), "{files} files, {commands} commands");
}
