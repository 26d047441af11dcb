//! What changes on an open page by itself.

use serde_json::json;

use crate::{browser::Browser, site::Site, support::state};

#[tokio::test(flavor = "multi_thread")]
async fn cards_come_and_go_and_a_comment_stays() {
    let site = Site::new().await;
    let kept = site.ask(json!({ "summary": "Kept" })).await;
    let browser = Browser::of(&site, "paula").await;
    browser.live().await;
    browser.keys("j").await;
    browser.keys("a").await;
    browser.keys("half a com").await;

    // A riskier one comes to stand before it.
    let riskier = site
        .ask(json!({ "namespace": "system", "verb": "execute", "resource": "production" }))
        .await;
    browser
        .until("it arrived", &format!("return !!document.getElementById('action-{riskier}')"))
        .await;
    let order =
        "return [...document.querySelectorAll('#queue > .card')].map((c) => Number(c.dataset.id))";
    let risk = async |id| site.house.center.action(id).await.unwrap().unwrap().risk_score;
    let expected =
        if risk(riskier).await > risk(kept).await { [riskier, kept] } else { [kept, riskier] };
    assert_eq!(browser.get(order).await, json!(expected));
    assert!(browser.text("#announce").await.contains(&format!("Action {riskier} arrived")));
    let focus = format!(
        "return document.activeElement.id === 'comment-{kept}' && \
         document.activeElement.value === 'half a com'"
    );
    assert_eq!(browser.get(&focus).await, json!(true));

    // Somebody else decides on the other one: it goes, the comment stays.
    let ada = site.person("ada").await;
    assert_eq!(site.decide(riskier, &ada, "reject").await.status, 303);
    browser
        .until("it is gone", &format!("return !document.getElementById('action-{riskier}')"))
        .await;
    assert_eq!(browser.get(&focus).await, json!(true));
    assert!(browser.text("#announce").await.contains("was rejected by ada"));
    assert_eq!(browser.text("#count").await, "1 action waits");

    // And on the very one: its card says so, keeps the comment, and Enter does nothing more.
    assert_eq!(site.decide(kept, &ada, "reject").await.status, 303);
    browser.until("it says so", "return !!document.querySelector('.card.gone')").await;
    let told = browser.text(".card.gone").await;
    assert!(told.contains("was rejected by ada") && told.contains("half a com"), "{told}");
    browser.enter().await;
    let record = site.house.center.action(kept).await.unwrap().unwrap();
    assert_eq!(record.reviewed_by.as_deref(), Some("ada"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_taken_up_again() {
    let site = Site::new().await;
    let before = site.ask(json!({})).await;
    let browser = Browser::of(&site, "paula").await;
    browser.live().await;
    let offline = |offline: bool| json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    browser.tools("Network.enable", json!({})).await;
    browser.tools("Network.emulateNetworkConditions", offline(true)).await;
    // An open stream is not cut by that.
    browser.get("source.close(); source = null; connect(); return 0").await;
    browser.until("it says so", "return !document.getElementById('connection').hidden").await;
    let ada = site.person("ada").await;
    assert_eq!(site.decide(before, &ada, "approve").await.status, 303);
    let after = site.ask(json!({})).await;
    browser.tools("Network.emulateNetworkConditions", offline(false)).await;
    browser.until("it is up to date", &format!(
        "return !document.getElementById('action-{before}') && \
         !!document.getElementById('action-{after}') && document.getElementById('connection').hidden"
    )).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_says_so() {
    let site = Site::new().await;
    let id = site.ask(json!({})).await;
    let browser = Browser::of(&site, "paula").await;
    browser.live().await;
    browser.keys("j").await;
    browser.keys("a").await;
    site.house.sql("UPDATE sessions SET expires_at = 1").await;
    // Nobody told the page yet.
    browser.enter().await;
    browser
        .until(
            "it says so",
            "return document.getElementById('connection').textContent.includes('session is over')",
        )
        .await;
    assert_eq!(state(&site.house.center, id).await.as_str(), "pending");
    browser.click("#connection a").await;
    browser.until("the login is shown", "return location.pathname === '/login'").await;
    browser.type_into("#name", "paula").await;
    browser.type_into("#password", crate::house::PASSWORD).await;
    browser.click("form.login button").await;
    browser.until("the queue is back", "return location.pathname === '/queue'").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_and_the_log_are_a_few_clicks() {
    let site = Site::new().await;
    site.ask(json!({})).await;
    let browser = Browser::of(&site, "ada").await;
    browser.live().await;
    let owner = &site.house.owner;
    browser.keys("j").await;
    browser.keys("r").await;
    browser.keys("half").await;
    site.house.center.kill("an incident", owner).await.unwrap();
    browser.until("it is shown", "return !!document.querySelector('.alarm')").await;
    let kept = "return document.activeElement.value";
    assert_eq!(browser.get(kept).await, json!("half"));
    site.house.center.release(owner).await.unwrap();
    browser.until("it is gone", "return !document.querySelector('.alarm')").await;
    assert_eq!(browser.get(kept).await, json!("half"));
    site.house.center.kill("an incident", owner).await.unwrap();
    browser.go("/switch").await;
    browser.click("form.switch button").await;
    browser.until("it is released", "return !document.querySelector('.alarm')").await;
    assert_eq!(site.house.center.kill_switch().await.unwrap(), None);
    browser.type_into("#reason", "another incident").await;
    browser.click("form.switch button").await;
    browser.until("it is raised", "return !!document.querySelector('.alarm')").await;
    let switch = site.house.center.kill_switch().await.unwrap().unwrap();
    assert_eq!((switch.reason.as_str(), switch.raised_by.as_str()), ("another incident", "ada"));
    browser.go("/audit").await;
    browser.click("form.verify button").await;
    browser.until("it is verified", "return !!document.querySelector('.proof')").await;
    browser.close().await;
}
