//! What is measured: ours and the alternatives.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{
    authority::{self, Dialect},
    center::RealCenter,
};

/// A name by which one row refers to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Floor,
    FloorAsks,
    RmcpStdio,
    RmcpPipes,
    Allow,
    ByHand,
    Plain,
    Claims,
    ByHandFar,
    PlainFar,
    ClaimsFar,
    ByHandCenter,
    Center,
    Relaxed,
    Embedded,
    Python,
}

impl Row {
    pub(crate) const ALL: [Self; 16] = [
        Self::Floor,
        Self::FloorAsks,
        Self::RmcpStdio,
        Self::RmcpPipes,
        Self::Allow,
        Self::ByHand,
        Self::Plain,
        Self::Claims,
        Self::ByHandFar,
        Self::PlainFar,
        Self::ClaimsFar,
        Self::ByHandCenter,
        Self::Center,
        Self::Relaxed,
        Self::Embedded,
        Self::Python,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Floor => "floor: read line, parse, write line",
            Self::FloorAsks => "floor with a request, loopback",
            Self::RmcpStdio => "rmcp `stdio()`, ungoverned",
            Self::RmcpPipes => "rmcp `stdio_pipes()`, ungoverned",
            Self::Allow => "ours, an authority in memory that allows",
            Self::ByHand => "**by hand**: `stdio_pipes()` + reqwest",
            Self::Plain => "ours, plain ASCEND, loopback",
            Self::Claims => "ours, with claims, loopback",
            Self::ByHandFar => "by hand, 20 ms away",
            Self::PlainFar => "ours, plain ASCEND, 20 ms away",
            Self::ClaimsFar => "ours, with claims, 20 ms away",
            Self::ByHandCenter => "by hand, a real center over loopback",
            Self::Center => "ours, a real center over loopback",
            Self::Relaxed => "ours, embedded, not waiting for the disk",
            Self::Embedded => "ours, embedded, durable (the default)",
            Self::Python => "official Python SDK, loopback",
        }
    }

    /// What its ratio is against.
    pub(crate) fn baseline(self) -> Option<Self> {
        match self {
            Self::FloorAsks
            | Self::Plain
            | Self::Claims
            | Self::Relaxed
            | Self::Embedded
            | Self::Python => Some(Self::ByHand),
            Self::PlainFar | Self::ClaimsFar => Some(Self::ByHandFar),
            Self::Center => Some(Self::ByHandCenter),
            _ => None,
        }
    }
}

/// All that the servers need around them, for the length of a run.
pub(crate) struct World {
    programs: PathBuf,
    plain: String,
    claims: String,
    plain_far: String,
    claims_far: String,
    served: (RealCenter, [(&'static str, String); 2]),
    python: Option<PathBuf>,
}

/// How far away the far authority is: there and back.
const FAR: Duration = Duration::from_millis(20);

impl World {
    /// # Errors
    ///
    /// When an authority cannot be started, or a server was not built.
    pub(crate) fn new(python: Option<PathBuf>) -> anyhow::Result<Self> {
        let programs = std::env::current_exe()?;
        let programs = programs.parent().context("a program is in a folder")?.to_owned();
        let center = RealCenter::open()?;
        let environment = center.serve()?;
        Ok(Self {
            programs,
            plain: authority::start(Dialect::Plain, Duration::ZERO)?,
            claims: authority::start(Dialect::Claims, Duration::ZERO)?,
            plain_far: authority::start(Dialect::Plain, FAR)?,
            claims_far: authority::start(Dialect::Claims, FAR)?,
            served: (center, environment),
            python,
        })
    }

    fn program(&self, name: &str) -> anyhow::Result<Command> {
        let path = self.programs.join(name);
        ensure!(
            path.exists(),
            "{} was not built; run `cargo build --release -p ascend-benches` first",
            path.display()
        );
        let mut command = Command::new(path);
        command.env_remove("RUST_LOG");
        Ok(command)
    }

    /// The server of a row, and what it needs to live; `None` where it is not
    /// set up.
    ///
    /// # Errors
    ///
    /// When a server was not built.
    pub(crate) fn command(
        &self,
        row: Row,
    ) -> anyhow::Result<Option<(Command, Option<RealCenter>)>> {
        let asking = |program: &str, url: &str| {
            let mut command = self.program(program)?;
            command.env("ASCEND_BASE_URL", url).env("ASCEND_API_KEY", "ascend_bench_0123456789");
            anyhow::Ok(command)
        };
        let asking_center = |program: &str| {
            let mut command = self.program(program)?;
            command.envs(self.served.1.clone());
            anyhow::Ok(command)
        };
        let embedded = |durability: &str| {
            let center = RealCenter::open()?;
            let mut command = self.program("bench_embedded")?;
            command.arg(center.directory()).arg(durability);
            anyhow::Ok(Some((command, Some(center))))
        };
        let with = |name: &str, argument: &str| {
            let mut command = self.program(name)?;
            command.arg(argument);
            anyhow::Ok(command)
        };
        let command = match row {
            Row::Floor => self.program("bench_floor")?,
            Row::FloorAsks => {
                let mut command = asking("bench_floor", &self.plain)?;
                command.arg("asks");
                command
            }
            Row::RmcpStdio => with("bench_rmcp", "stdio")?,
            Row::RmcpPipes => with("bench_rmcp", "pipes")?,
            Row::Allow => with("bench_ascend", "allow")?,
            Row::ByHand => asking("bench_by_hand", &self.plain)?,
            Row::Plain => asking("bench_ascend", &self.plain)?,
            Row::Claims => asking("bench_ascend", &self.claims)?,
            Row::ByHandFar => asking("bench_by_hand", &self.plain_far)?,
            Row::PlainFar => asking("bench_ascend", &self.plain_far)?,
            Row::ClaimsFar => asking("bench_ascend", &self.claims_far)?,
            Row::ByHandCenter => asking_center("bench_by_hand")?,
            Row::Center => asking_center("bench_ascend")?,
            Row::Relaxed => return embedded("relaxed"),
            Row::Embedded => return embedded("durable"),
            Row::Python => {
                let Some(python) = &self.python else { return Ok(None) };
                let mut command = Command::new(python);
                command
                    .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/server.py"))
                    .env("ASCEND_BASE_URL", &self.plain)
                    .env("ASCEND_API_KEY", "ascend_bench_0123456789");
                command
            }
        };
        Ok(Some((command, None)))
    }

    /// The server that asks a real center of its own over HTTP.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) fn over_http(&self) -> anyhow::Result<(Command, RealCenter)> {
        let center = RealCenter::open()?;
        let mut command = self.program("bench_ascend")?;
        command.arg("http").envs(center.serve()?);
        Ok((command, center))
    }

    /// The server with a center inside.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) fn embedded(&self, relaxed: bool) -> anyhow::Result<(Command, RealCenter)> {
        let row = if relaxed { Row::Relaxed } else { Row::Embedded };
        match self.command(row)? {
            Some((command, Some(center))) => Ok((command, center)),
            _ => anyhow::bail!("an embedded center is there"),
        }
    }
}
