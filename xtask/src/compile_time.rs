//! `cargo xtask compile-time`: what governing costs whoever compiles.
//!
//! What is measured is processor time: other work on the machine matters less to it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Result, cargo, root, run};

pub(crate) const USAGE: &str = "\
  compile-time [--tools N] [--rounds N] [--cold]
                what N governed tools (200) take to compile, beside N of rmcp's;
                with --cold also what the dependencies take";

/// A crate that is measured.
struct Subject {
    name: &'static str,
    dependencies: fn(&Path) -> String,
    source: fn(usize) -> String,
}

const BY_RMCP: Subject = Subject {
    name: "tools-by-rmcp",
    dependencies: |_| {
        r#"rmcp = { version = "3.11", default-features = false, features = ["server", "macros"] }"#
            .to_owned()
    },
    source: tools_by_rmcp,
};

const GOVERNED: Subject = Subject {
    name: "tools-governed",
    dependencies: |root| format!("ascend-sdk = {{ path = {:?} }}", root.join("ascend-sdk")),
    source: tools_governed,
};

/// What the SDK is made of, with the features that it uses.
const BENEATH: Subject = Subject {
    name: "dependencies-beneath",
    dependencies: |_| {
        r#"rmcp = { version = "3.11", default-features = false, features = ["server", "base64", "request-state"] }
reqwest = { version = "0.13", default-features = false, features = ["rustls", "json"] }"#
            .to_owned()
    },
    source: |_| String::new(),
};

const SDK: Subject = Subject { name: "dependencies-sdk", source: |_| String::new(), ..GOVERNED };

pub(crate) fn measure(arguments: &[String]) -> Result {
    let (mut tools, mut rounds, mut cold) = (200, 5, false);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|it| it.parse().ok()).ok_or(USAGE);
        match argument.as_str() {
            "--tools" => tools = number()?,
            "--rounds" => rounds = number()?.max(1),
            "--cold" => cold = true,
            _ => return Err(USAGE.into()),
        }
    }
    let folder = root().join("target/compile-time");
    println!(
        "| {tools} tools, {rounds} rounds | rmcp `#[tool]` | governed | ratio |\n|---|---|---|---|"
    );
    let crates = [write(&folder, &BY_RMCP, tools)?, write(&folder, &GOVERNED, tools)?];
    for command in ["check", "build"] {
        let mut times = [Vec::new(), Vec::new()];
        // The first round, which is not counted, makes the dependencies.
        for round in 0..=rounds {
            for (package, times) in crates.iter().zip(&mut times) {
                let seconds = compile(package, command, round)?;
                if round > 0 {
                    times.push(seconds);
                }
            }
        }
        let [rmcp, governed] = times.map(median);
        println!("| `cargo {command}` | {rmcp:.2} s | {governed:.2} s | {:.2}× |", governed / rmcp);
    }
    if cold {
        let beneath = from_nothing(&write(&folder, &BENEATH, 0)?)?;
        let sdk = from_nothing(&write(&folder, &SDK, 0)?)?;
        println!(
            "\nAll dependencies from nothing: rmcp and reqwest {beneath:.0} s, ascend-sdk {sdk:.0} s: {:.2}×",
            sdk / beneath
        );
    }
    Ok(())
}

/// Writes the package and returns its folder.
fn write(folder: &Path, subject: &Subject, tools: usize) -> Result<PathBuf> {
    let root = root();
    let package = folder.join(subject.name);
    fs::create_dir_all(package.join("src"))?;
    let manifest = format!(
        "[package]\nname = {:?}\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\n{}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         schemars = \"1.2\"\n\n[workspace]\n\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n\n\
         [profile.dev.package.\"*\"]\ndebug = false\n",
        subject.name,
        (subject.dependencies)(&root),
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"))?;
    fs::write(package.join("src/lib.rs"), (subject.source)(tools))?;
    Ok(package)
}

/// Compiles the package, with its dependencies as they are, and returns the seconds.
fn compile(package: &Path, command: &str, round: usize) -> Result<f64> {
    let source = package.join("src/lib.rs");
    let text = fs::read_to_string(&source)?;
    let text = text.split("\n// round").next().unwrap_or_default();
    fs::write(&source, format!("{text}\n// round {round}\n"))?;
    // Together, so that what both depend on is made once.
    timed(package, command, &root().join("target/compile-time/target"))
}

fn from_nothing(package: &Path) -> Result<f64> {
    let target = package.join("target");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    timed(package, "build", &target)
}

/// Runs cargo in a package, and returns the processor seconds of all that it started.
fn timed(package: &Path, command: &str, target: &Path) -> Result<f64> {
    let before = spent()?;
    run(Command::new(cargo())
        .args([command, "--quiet", "--target-dir"])
        .arg(target)
        .current_dir(package)
        .env("CARGO_INCREMENTAL", "0"))?;
    Ok(spent()? - before)
}

/// The processor seconds of the processes that this one waited for, and of theirs.
fn spent() -> Result<f64> {
    const TICKS_IN_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat")
        .map_err(|error| format!("processor time is read from Linux's /proc: {error}"))?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    match (ticks(13), ticks(14)) {
        (Some(user), Some(system)) => Ok((user + system) / TICKS_IN_A_SECOND),
        _ => Err("/proc/self/stat has no processor times".into()),
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

const RESULT: &str = "
#[derive(serde::Serialize, schemars::JsonSchema)]
pub struct Found {
    pub rows: Vec<String>,
    pub total: u64,
}
";

fn tools_governed(count: usize) -> String {
    let mut source =
        format!("use ascend_sdk::{{Refusal, Tools, mcp_governance, tools}};\n{RESULT}");
    let mut names = String::new();
    for index in 0..count {
        let _ = write!(names, "query_{index}, ");
        let _ = write!(
            source,
            r#"
/// Looks for records of kind {index}.
#[mcp_governance(action_type = "records.query", resource = "records/{{table}}")]
pub async fn query_{index}(
    /// Where.
    table: String,
    /// How many at most.
    limit: u32,
    /// Whether case counts.
    exact: Option<bool>,
) -> Result<Found, Refusal> {{
    let total = u64::from(limit) + u64::from(exact.unwrap_or_default()) + {index};
    Ok(Found {{ rows: vec![table], total }})
}}
"#
        );
    }
    let _ = write!(source, "\npub fn all() -> Tools {{\n    tools![{names}]\n}}\n");
    source
}

fn tools_by_rmcp(count: usize) -> String {
    let mut source = format!(
        "use rmcp::{{ErrorData, Json, handler::server::{{router::tool::ToolRouter, wrapper::Parameters}}, tool, tool_router}};\n{RESULT}"
    );
    let mut methods = String::new();
    for index in 0..count {
        let _ = write!(
            source,
            r"
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Query{index} {{
    /// Where.
    pub table: String,
    /// How many at most.
    pub limit: u32,
    /// Whether case counts.
    pub exact: Option<bool>,
}}
"
        );
        let _ = write!(
            methods,
            r"
    /// Looks for records of kind {index}.
    #[tool]
    async fn query_{index}(
        &self,
        Parameters(Query{index} {{ table, limit, exact }}): Parameters<Query{index}>,
    ) -> Result<Json<Found>, ErrorData> {{
        let total = u64::from(limit) + u64::from(exact.unwrap_or_default()) + {index};
        Ok(Json(Found {{ rows: vec![table], total }}))
    }}
"
        );
    }
    let _ = write!(
        source,
        "\npub struct Server;\n\n#[tool_router]\nimpl Server {{{methods}}}\n\n\
         pub fn all() -> ToolRouter<Server> {{\n    Server::tool_router()\n}}\n"
    );
    source
}
