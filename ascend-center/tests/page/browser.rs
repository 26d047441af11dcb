//! Chromium without a window, by its own driver.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    ChromiumLikeCapabilities, DesiredCapabilities, WebDriver,
    prelude::{By, Key, TypingData},
};

use crate::{house::PASSWORD, site::Site};

const MISSING: &str = "the page is tested in Chromium: install it and its driver (Debian: \
                       chromium, chromium-driver)";

/// A browser, closed with this.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    url: String,
    process: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn open(site: &Site) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        // Ends with all that it started.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn().expect(MISSING);
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, port) = line.split_once("started successfully on port ")?;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("the driver tells its port");
        // Else it could wait for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ] {
            wanted.add_arg(argument).unwrap();
        }
        let driver =
            WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await.expect(MISSING);
        Self { driver, url: site.house.url.clone(), process, _profile: profile }
    }

    /// With somebody logged in, at the queue.
    pub(crate) async fn of(site: &Site, name: &str) -> Self {
        let browser = Self::open(site).await;
        browser.go("/queue").await;
        browser.type_into("#name", name).await;
        browser.type_into("#password", PASSWORD).await;
        browser.click("form.login button").await;
        browser.until("the queue is shown", "return location.pathname === '/queue'").await;
        browser
    }

    pub(crate) async fn go(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.url)).await.unwrap();
    }

    pub(crate) async fn click(&self, css: &str) {
        self.driver.find(By::Css(css)).await.unwrap().click().await.unwrap();
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        self.driver.find(By::Css(css)).await.unwrap().send_keys(text).await.unwrap();
    }

    /// Keys to whatever has the focus.
    pub(crate) async fn keys(&self, keys: impl Into<TypingData>) {
        let focused = self.driver.active_element().await.unwrap();
        focused.send_keys(keys).await.unwrap();
    }

    pub(crate) async fn enter(&self) {
        self.keys(Key::Enter).await;
    }

    /// What a function's body returns in the page.
    pub(crate) async fn get(&self, body: &str) -> Value {
        self.driver.execute(body, Vec::new()).await.unwrap().json().clone()
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        let body = "return document.querySelector(arguments[0])?.textContent ?? ''";
        let answer = self.driver.execute(body, vec![json!(css)]).await.unwrap();
        answer.json().as_str().unwrap().to_owned()
    }

    /// Asks again until it is true.
    pub(crate) async fn until(&self, what: &str, body: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.get(body).await != json!(true) {
            if Instant::now() > deadline {
                let page = self.text("main").await;
                panic!("still not so: {what}\n{page}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the stream of events is open.
    pub(crate) async fn live(&self) {
        self.until("it is live", "return typeof source === 'object' && source?.readyState === 1")
            .await;
    }

    pub(crate) async fn tools(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.unwrap()
    }

    /// Light or dark.
    pub(crate) async fn theme(&self, theme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.tools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    pub(crate) async fn width(&self, width: u32, height: u32) {
        let device = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.tools("Emulation.setDeviceMetricsOverride", device).await;
    }

    /// Keeps a picture of the page for people, where they say so.
    pub(crate) async fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("ASCEND_PAGE_PICTURES") {
            let file = PathBuf::from(folder).join(format!("{name}.png"));
            self.driver.screenshot(&file).await.unwrap();
        }
    }

    pub(crate) async fn close(self) {
        self.driver.clone().quit().await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
    }
}
