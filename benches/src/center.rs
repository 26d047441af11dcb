//! A real center, in this process, for servers to ask and for us to approve in.

use std::sync::mpsc;

use anyhow::Context as _;
use ascend_benches::now;
use ascend_center::{ActionState, Approver, Center, CenterConfig, ServeConfig};
use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;

/// A center, served over loopback HTTP if asked.
pub(crate) struct RealCenter {
    runtime: Runtime,
    center: Center,
    approver: Approver,
    directory: tempfile::TempDir,
}

/// A pending action: its id, and the first parameter of the call.
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) filter: String,
}

impl RealCenter {
    /// # Errors
    ///
    /// When it cannot be opened.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let directory = tempfile::tempdir()?;
        let (center, approver) = runtime.block_on(async {
            let center = Center::open(CenterConfig::new(directory.path())).await?;
            let approver = center.local_approver().await?;
            anyhow::Ok((center, approver))
        })?;
        Ok(Self { runtime, center, approver, directory })
    }

    pub(crate) fn directory(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Serves it; returns the environment of servers that ask it.
    ///
    /// # Errors
    ///
    /// When there is no port, or no key.
    pub(crate) fn serve(&self) -> anyhow::Result<[(&'static str, String); 2]> {
        let (sender, address) = mpsc::channel();
        let center = self.center.clone();
        self.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
            let _ = sender.send(listener.local_addr()?);
            center
                .serve(
                    listener,
                    ServeConfig::new().agent_rate(0).tenant_rate(0),
                    std::future::pending(),
                )
                .await
        });
        let url = format!("http://{}", address.recv().context("the center does not listen")?);
        let key = self.center.agent_key()?.expose_secret().to_owned();
        Ok([("ASCEND_BASE_URL", url), ("ASCEND_API_KEY", key)])
    }

    /// The pending actions, once there are so many.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(crate) fn waiting(&self, count: usize) -> anyhow::Result<Vec<Waiting>> {
        self.runtime.block_on(async {
            let changes = self.center.changes();
            loop {
                let changed = changes.next();
                let pending = self.center.actions(Some(ActionState::Pending), u32::MAX).await?;
                if pending.len() >= count {
                    let waiting = pending.into_iter().map(|record| Waiting {
                        id: record.id,
                        filter: record.parameters["filter"].as_str().unwrap_or_default().to_owned(),
                    });
                    return Ok(waiting.collect());
                }
                changed.await;
            }
        })
    }

    /// Approves; returns when it was asked to.
    ///
    /// # Errors
    ///
    /// When the action cannot be approved.
    pub(crate) fn approve(&self, id: i64) -> anyhow::Result<u64> {
        let asked = now();
        self.runtime.block_on(self.center.approve(id, &self.approver, None))?;
        Ok(asked)
    }
}
