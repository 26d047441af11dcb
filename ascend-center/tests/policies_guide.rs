//! docs/policies.md, followed: its files are written, its commands run, and
//! what they print compared.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use ascend_center::{Center, CenterConfig};
use ascend_sdk::Authority;
use serde_json::json;
use support::{action_json, guide::Guide, until};

/// A center in which three refunds were asked for, under the guide's policies
/// and with the changed ones in their shadow.
async fn record(directory: &Path) {
    let config = CenterConfig::new(directory.join("center"))
        .policies(directory.join("policies"))
        .tools_file(directory.join("policies/tools.json"))
        .shadow_policies(directory.join("changed"));
    let center = Center::open(config).await.unwrap();
    for cents in [500, 15_000, 25_000] {
        let mut action = action_json("crm", "refund", "crm://orders/7");
        action["tool"] = "refund".into();
        action["parameters"] = json!({ "order": "7", "cents": cents });
        center.evaluate(&serde_json::from_value(action).unwrap()).await.unwrap();
    }
    until("the shadow policies answered", async || {
        center.shadow_report(10).await.unwrap().asked == 3
    })
    .await;
    center.close().await;
}

#[tokio::test]
async fn the_guide_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let guide = Guide::read("docs/policies.md", include_str!("../docs/policies.md"));
    let files = guide.write(directory.path());
    record(directory.path()).await;
    let commands = guide.follow(directory.path());
    assert!((files, commands) == (6, 7), "{files} files, {commands} commands");
}
