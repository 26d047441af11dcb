//! A long queue of large actions.

use std::time::Instant;

use serde_json::json;

use crate::{browser::Browser, site::Site};

const ACTIONS: usize = 200;
const BYTES: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_large_actions_stay_fast() {
    let site = Site::new().await;
    let text = "DELETE FROM customers WHERE note <> 'x' AND id > 12;\n";
    for number in 0..ACTIONS {
        let query = format!("-- {number}\n{}", text.repeat(BYTES / text.len() + 1));
        site.ask(
            json!({ "summary": format!("Delete {number}"), "parameters": { "query": query } }),
        )
        .await;
    }
    let person = site.person("paula").await;
    let begun = Instant::now();
    let html = site.get("/queue", Some(&person)).await.text;
    let served = begun.elapsed();
    assert_eq!(html.matches("class=\"card ").count(), ACTIONS);
    assert!(html.len() < 2_500_000, "{} bytes", html.len());

    let browser = Browser::of(&site, "paula").await;
    browser.live().await;
    let begun = Instant::now();
    browser.driver.refresh().await.unwrap();
    let timing = browser
        .get(
            "const [page] = performance.getEntriesByType('navigation'); \
         return [page.responseEnd, page.domInteractive, page.loadEventEnd, \
                 document.querySelectorAll('*').length, page.transferSize]",
        )
        .await;
    let timing: Vec<f64> = timing.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    let [response, interactive, loaded, nodes, bytes] = timing[..] else { panic!("five numbers") };
    println!(
        "{ACTIONS} actions of {} KB: {} KB of HTML, served in {served:?}; in the browser {:.0} KB, \
         all of it after {response:.0} ms, interactive after {interactive:.0} ms, loaded after \
         {loaded:.0} ms; {nodes:.0} elements; {:?} with the driver",
        BYTES / 1024,
        html.len() / 1024,
        bytes / 1024.0,
        begun.elapsed()
    );
    assert!(nodes < 40_000.0, "{nodes} elements");
    assert!(interactive - response < 10_000.0, "{interactive} ms after {response} ms");

    // Keys are answered at once, also far down.
    let begun = Instant::now();
    for _ in 0..20 {
        browser.keys("j").await;
    }
    println!("20 keys in {:?}", begun.elapsed());
    let id = browser.get("return document.activeElement.dataset.id").await;
    let id = id.as_str().unwrap();
    // The whole of one of them, where it is wanted.
    assert!(browser.text(&format!("#action-{id} .more")).await.contains("more characters"));
    browser.keys("e").await;
    browser
        .until(
            "all of it is shown",
            &format!(
                "const value = document.querySelector('#action-{id} .value'); \
         return value.textContent.length > {BYTES} && !document.querySelector('#action-{id} .more')"
            ),
        )
        .await;
    let shown = browser.text(&format!("#action-{id} .value")).await;
    let record = site.house.center.action(id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(shown, record.parameters["query"].as_str().unwrap());
    browser.close().await;
}
