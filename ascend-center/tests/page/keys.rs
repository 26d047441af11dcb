//! Deciding by keys, in a browser.

use serde_json::json;
use thirtyfour::prelude::Key;

use crate::{
    browser::Browser,
    site::{HOSTILE, SHOWN, Site},
    support::{state, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_decide_and_one_does_not() {
    let site = Site::new().await;
    let first = site.ask(json!({ "summary": "The first" })).await;
    let second = site.ask(json!({ "summary": "The second" })).await;
    let center = &site.house.center;
    let browser = Browser::of(&site, "paula").await;
    browser.live().await;

    // No card has the focus: nothing is meant.
    browser.keys("a").await;
    browser.enter().await;
    browser.keys("j").await;
    assert_eq!(
        browser.get("return document.activeElement.id").await,
        json!(format!("action-{first}"))
    );
    browser.keys("a").await;
    let digest = center.action(first).await.unwrap().unwrap().digest.to_string();
    let told = browser.text(&format!("#action-{first} .confirm")).await;
    assert!(
        told.contains(&format!("Enter approves action {first}, digest {}", &digest[..12])),
        "{told}"
    );
    assert_eq!(state(center, first).await.as_str(), "pending");
    // Neither.
    browser.keys(Key::Escape).await;
    assert_eq!(
        browser.get("return document.querySelectorAll('form[data-armed]').length").await,
        json!(0)
    );
    browser.enter().await;
    assert_eq!(state(center, first).await.as_str(), "pending");

    browser.keys("a").await;
    browser.enter().await;
    until("it is approved", async || state(center, first).await.as_str() == "approved").await;
    browser
        .until("its card is gone", &format!("return !document.getElementById('action-{first}')"))
        .await;
    assert_eq!(state(center, second).await.as_str(), "pending");

    browser
        .until(
            "the next card has the focus",
            &format!("return document.activeElement.id === 'action-{second}'"),
        )
        .await;
    browser.keys("r").await;
    browser.keys("too broad").await;
    browser.enter().await;
    until("it is rejected", async || state(center, second).await.as_str() == "rejected").await;
    let record = center.action(second).await.unwrap().unwrap();
    assert_eq!(record.comments.as_deref(), Some("too broad"));
    assert_eq!(record.reviewed_by.as_deref(), Some("paula"));
    browser.until("nothing waits", "return !document.getElementById('empty').hidden").await;

    // With the mouse it takes two steps as well.
    let third = site.ask(json!({})).await;
    browser
        .until("it arrived", &format!("return !!document.getElementById('action-{third}')"))
        .await;
    browser.click(&format!("#action-{third} button.approve")).await;
    assert_eq!(state(center, third).await.as_str(), "pending");
    browser.click(&format!("#action-{third} .confirm button")).await;
    until("it is approved", async || state(center, third).await.as_str() == "approved").await;

    // `?` tells the keys.
    browser.driver.refresh().await.unwrap();
    browser.live().await;
    browser.keys("?").await;
    assert_eq!(browser.get("return document.getElementById('keys').open").await, json!(true));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_only_looks() {
    let site = Site::new().await;
    let id = site.ask(json!({})).await;
    let browser = Browser::of(&site, "vera").await;
    browser.live().await;
    let buttons = "return [...document.querySelectorAll('.decide button')].map((b) => b.disabled)";
    assert_eq!(browser.get(buttons).await, json!([true, true]));
    browser.keys("j").await;
    browser.keys("a").await;
    browser.enter().await;
    assert_eq!(
        browser.get("return document.querySelectorAll('form[data-armed]').length").await,
        json!(0)
    );
    assert_eq!(state(&site.house.center, id).await.as_str(), "pending");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_does_nothing_and_is_shown() {
    let site = Site::new().await;
    let id = site
        .ask(json!({
            "summary": HOSTILE, "resource": HOSTILE, "tool": HOSTILE, "server_id": HOSTILE,
            "parameters": {
                "command": format!("rm -rf \"{HOSTILE}\""),
                "query": format!("DELETE FROM users WHERE name = '{HOSTILE}'"),
                HOSTILE: { "deep": [HOSTILE] },
            },
        }))
        .await;
    let browser = Browser::of(&site, "paula").await;
    browser.live().await;
    for path in ["/queue".to_owned(), format!("/actions/{id}"), "/history".to_owned()] {
        browser.go(&path).await;
        let text = browser.text("main").await;
        assert!(text.contains(SHOWN), "{path}: {text}");
        let raw = text.chars().find(|c| *c != '\n' && ascend_sdk::is_invisible(*c));
        assert_eq!(raw, None, "{path}");
        let ran =
            "return window.pwned ?? document.querySelectorAll('main script, main img').length";
        assert_eq!(browser.get(ran).await, json!(0), "{path}");
    }
    // What a program reads first stands first, from left to right.
    browser.go(&format!("/actions/{id}")).await;
    let order = "const value = document.querySelector('.value.code'); \
        const walker = document.createTreeWalker(value, NodeFilter.SHOW_TEXT); \
        let last = { top: -1, left: -1 }; \
        while (walker.nextNode()) { \
          for (let at = 0; at < walker.currentNode.length; at += 1) { \
            const range = document.createRange(); \
            range.setStart(walker.currentNode, at); range.setEnd(walker.currentNode, at + 1); \
            const box = range.getBoundingClientRect(); \
            if (!box.width) continue; \
            const follows = box.top > last.top + 8 || box.left >= last.left - 1; \
            if (!follows) return `${walker.currentNode.data} at ${at}`; \
            last = box; \
          } \
        } \
        return true";
    assert_eq!(browser.get(order).await, json!(true));
    // The same by keys, to the end.
    browser.keys("r").await;
    browser.keys("hostile").await;
    browser.enter().await;
    until("it is rejected", async || state(&site.house.center, id).await.as_str() == "rejected")
        .await;
    browser.close().await;
}
