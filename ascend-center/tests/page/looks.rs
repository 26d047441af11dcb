//! Whether everybody can use the page: axe, both themes, and a phone's width.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    site::{HOSTILE, Site},
};

fn axe() -> String {
    let clients = std::env::var_os("ASCEND_TEST_CLIENTS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/clients"),
        PathBuf::from,
    );
    std::fs::read_to_string(clients.join("page/node_modules/axe-core/axe.min.js"))
        .expect("axe-core is not set up; run `cargo xtask clients`")
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_serious_and_a_phone_shows_it_all() {
    let axe = axe();
    let site = Site::new().await;
    some_life(&site).await;
    let browser = Browser::open(&site).await;
    let pages = [
        "/login",
        "/queue",
        "/actions/3",
        "/actions/1",
        "/history",
        "/policies",
        "/grants",
        "/audit",
        "/switch",
        "/account",
        "/actions/99",
    ];
    for (name, width, height) in [("desktop", 1280, 900), ("phone", 360, 780)] {
        browser.width(width, height).await;
        for theme in ["light", "dark"] {
            browser.theme(theme).await;
            for page in pages {
                browser.go(page).await;
                if page == "/queue" && browser.text("h1").await == "Log in" {
                    browser.type_into("#name", "ada").await;
                    browser.type_into("#password", crate::house::PASSWORD).await;
                    browser.click("form.login button").await;
                    browser.live().await;
                }
                check(&browser, &axe, &format!("{page} {name} {theme}")).await;
                browser.picture(&format!("{name}-{theme}{}", page.replace('/', "-"))).await;
            }
            browser.go("/queue").await;
            browser.live().await;
            browser.keys("j").await;
            browser.keys("a").await;
            check(&browser, &axe, &format!("approving {name} {theme}")).await;
            browser.picture(&format!("{name}-{theme}-approving")).await;
        }
    }
    browser.go("/history").await;
    site.house.center.kill("an incident with a long reason", &site.house.owner).await.unwrap();
    for theme in ["light", "dark"] {
        browser.theme(theme).await;
        browser.go("/switch").await;
        check(&browser, &axe, &format!("raised {theme}")).await;
        browser.picture(&format!("raised-{theme}")).await;
        browser.go("/audit").await;
        browser.click("form.verify button").await;
        browser.until("it is verified", "return !!document.querySelector('.proof')").await;
        check(&browser, &axe, &format!("verified {theme}")).await;
        browser.picture(&format!("verified-{theme}")).await;
    }
    browser.close().await;
}

async fn check(browser: &Browser, axe: &str, what: &str) {
    let wide = "return [document.documentElement.scrollWidth, innerWidth]";
    let widths = browser.get(wide).await;
    assert!(
        widths[0].as_i64() <= widths[1].as_i64(),
        "{what} is {} wide of {}",
        widths[0],
        widths[1]
    );
    browser.driver.execute(axe.to_owned(), Vec::new()).await.unwrap();
    let found = browser
        .driver
        .execute_async(
            "const done = arguments[0]; axe.run().then((found) => done(found.violations.map((v) => \
             [v.impact, v.id, v.help, v.nodes.map((n) => n.html + ' ' + n.failureSummary).slice(0, 3)])), \
             (error) => done([['failed', String(error)]]))",
            Vec::new(),
        )
        .await
        .unwrap();
    let found: Vec<&Value> = found.json().as_array().unwrap().iter().collect();
    let serious: Vec<_> = found
        .iter()
        .filter(|violation| violation[0] != "minor" && violation[0] != "moderate")
        .collect();
    assert!(serious.is_empty(), "{what}: {serious:#?}");
    for violation in found {
        println!("{what}: {violation}");
    }
}

/// Actions of all kinds.
async fn some_life(site: &Site) {
    let ada = site.person("ada").await;
    for number in 0..14 {
        let id =
            site.ask(json!({ "summary": format!("Delete the customers of batch {number}") })).await;
        let decision = if number % 3 == 0 { "reject" } else { "approve" };
        if number != 2 {
            site.decide(id, &ada, decision).await;
        }
    }
    site.ask(json!({
        "summary": "Delete 1,204 customers who were inactive since 2019",
        "parameters": {
            "query": "DELETE FROM customers\nWHERE last_seen < '2019-01-01' -- not the big ones\n  AND revenue < 100;",
            "dry_run": false, "limit": 5000, "password": "[sensitive]",
            "options": { "cascade": true, "tables": ["orders", "invoices"] },
        },
    })).await;
    site.ask(json!({
        "server_id": "ops-agent", "tool": "run_command", "namespace": "system", "verb": "execute",
        "resource": "host://db-1.production", "summary": "Run a command on db-1",
        "parameters": { "command": "pg_dump \"$DB\" | gzip > /backup/db-$(date +%F).gz && rm -rf /var/tmp/old # clean up" },
        "user_context": { "user": "carol@example.org" },
    })).await;
    site.ask(json!({
        "server_id": "mail-agent", "tool": HOSTILE, "resource": HOSTILE, "summary": HOSTILE,
        "parameters": { "text": HOSTILE.repeat(8), "to": "somebody@example.org" },
    }))
    .await;
}
