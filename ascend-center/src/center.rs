//! The center: policy, database and waiting, behind one handle.

mod follow;
#[cfg(feature = "http")]
mod several;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ascend_sdk::{
    Action, ActionId, Authority, AuthorityError, BoxFuture, Claim, Confirmation, Digest,
    Evaluation, Holder, Outcome, Review, Standing, Status, Tools, shown,
};
use jiff::Timestamp;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::Span;

pub use follow::Follow;

#[cfg(feature = "http")]
use crate::identity::Gate;
use crate::{
    audit::{AuditKey, AuditKeyError},
    clock::Clock,
    directory,
    grants::{GrantLimits, warn_of_unmet},
    identity::{Approver, CredentialError, EMBEDDED, LOCAL_AGENT, Local, Passwords, local, random},
    life::{ActionState, Event},
    metrics::Metrics,
    policy::{
        self, Engine, Origin, Policies, PolicyError, PolicyStatus, PolicySummary, Recent,
        ToolSchema,
    },
    record::Record,
    shadow::Shadow,
    store::{
        BATCH, Claimant, Claimed, Condition, Covers, DecideError, Decider, Judged, KillSwitch,
        NewAction, Opened, PoliciesUsed, ReportError, Storage, Store, StoreError, SubmitError,
        SwitchError, Waiter,
    },
    submission::Submission,
    trace,
};

/// What a center needs to know.
///
/// ```
/// use ascend_center::CenterConfig;
/// let config = CenterConfig::new("/var/lib/ascend-center").policies("/etc/ascend/policies");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to `Center::open`"]
pub struct CenterConfig {
    directory: PathBuf,
    policies: Origin,
    shadow: Option<PathBuf>,
    approver: Option<String>,
    durability: Durability,
    grant_limits: GrantLimits,
    #[cfg(feature = "postgres")]
    database: Option<DatabaseUrl>,
    #[cfg(feature = "postgres")]
    adopts_keys: bool,
}

/// Never shown: there can be a password in it.
#[cfg(feature = "postgres")]
#[derive(Clone, PartialEq, Eq)]
struct DatabaseUrl(String);

#[cfg(feature = "postgres")]
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl")
    }
}

/// What a decision is safe from by the time it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// From everything that leaves the disk intact. Each answer waits for the
    /// disk; decisions that are made at the same time share the wait.
    #[default]
    Disk,
    /// From the end of the process, however it ends. When the machine loses
    /// power or its system crashes, the record may lack its last moments: what
    /// ran then may be unknown, and an action that was claimed may be claimable
    /// again. Never corrupt.
    System,
}

impl CenterConfig {
    /// A center that keeps everything in `directory`, with the built-in policies.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            policies: Origin::default(),
            shadow: None,
            approver: None,
            durability: Durability::default(),
            grant_limits: GrantLimits::default(),
            #[cfg(feature = "postgres")]
            database: None,
            #[cfg(feature = "postgres")]
            adopts_keys: false,
        }
    }

    /// Policies from a folder of `*.cedar` files with their `schema.cedarschema`,
    /// read again whenever they change. Where there is no such folder yet, the
    /// built-in policies and schema are copied there to be edited.
    pub fn policies(mut self, folder: impl Into<PathBuf>) -> Self {
        self.policies.path = Some(folder.into());
        self
    }

    /// The tools whose calls are decided: with them policies can name arguments,
    /// as in `context.arguments.refund.cents`, and a policy that names one which
    /// its tool does not have is refused. Adds to those given before.
    ///
    /// ```
    /// use ascend_center::CenterConfig;
    /// use ascend_sdk::Tools;
    ///
    /// // Of a server: `tools![refund, …]`.
    /// let tools = Tools::new();
    /// let config = CenterConfig::new("./center").tools(&tools);
    /// ```
    pub fn tools(mut self, tools: &Tools) -> Self {
        self.policies.tools.extend(tools.routes().iter().map(ToolSchema::of));
        self
    }

    /// As [`tools`](Self::tools), from a JSON file with what servers answer to
    /// `tools/list`; read again whenever it changes.
    pub fn tools_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.policies.tools_file = Some(file.into());
        self
    }

    /// Policies that are asked beside the enforced ones and recorded, but never
    /// obeyed: a folder or one file, read again whenever it changes. A mistake
    /// in them is logged, and hinders nothing.
    pub fn shadow_policies(mut self, path: impl Into<PathBuf>) -> Self {
        self.shadow = Some(path.into());
        self
    }

    /// The name that the approver's credential gets when it is created.
    /// Default: the operating system's user.
    pub fn approver(mut self, name: impl Into<String>) -> Self {
        self.approver = Some(name.into());
        self
    }

    /// How long a grant lasts at most, and for how many calls it is at most.
    /// Default: 24 hours, and 1,000 calls.
    pub fn grant_limits(mut self, lasting: Duration, calls: u32) -> Self {
        self.grant_limits = GrantLimits { lasting, calls };
        self
    }

    /// Whether answers wait for the disk. Default: [`Durability::Disk`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// A PostgreSQL database instead of SQLite in the directory, so that centers
    /// on several machines are one: `postgres://user@host/database`. A password
    /// is better in `PGPASSWORD` or the password file than in the URL. Over a
    /// network it is reached with TLS and its certificate is verified, unless
    /// `sslmode` says otherwise. The directory still holds the keys, which are
    /// the same for all: `docs/postgresql.md`.
    ///
    /// ```
    /// use ascend_center::CenterConfig;
    /// let config = CenterConfig::new("/var/lib/ascend-center")
    ///     .database("postgres://center@db.example/center?sslrootcert=/etc/ssl/db.pem");
    /// assert!(!format!("{config:?}").contains("db.example"));
    /// ```
    #[cfg(feature = "postgres")]
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = Some(DatabaseUrl(url.into()));
        self
    }

    /// Whether the keys in the directory take the place of those that the
    /// database knows. Else a center whose keys are others does not open it.
    #[cfg(feature = "postgres")]
    pub fn adopt_keys(mut self, adopts: bool) -> Self {
        self.adopts_keys = adopts;
        self
    }

    /// Where a center is kept when nobody says where: `$ASCEND_CENTER_DIR`,
    /// else `ascend-center` in the user's data folder; `None` when there is no
    /// such folder.
    #[must_use]
    pub fn default_directory() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(directory) = variable("ASCEND_CENTER_DIR") {
            return Some(directory.into());
        }
        let data = if cfg!(windows) {
            variable("LOCALAPPDATA").map(PathBuf::from)
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|home| PathBuf::from(home).join("Library/Application Support"))
        } else {
            // The XDG specification says to ignore relative paths.
            variable("XDG_DATA_HOME")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/share")))
        };
        data.map(|data| data.join("ascend-center"))
    }
}

/// Why a center could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its directory cannot be used.
    #[error("the center's directory {} cannot be used: {source}", .directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A policy has a mistake.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// A credential cannot be made or read.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// The key that signs the audit log cannot be made or read.
    #[error("{0}")]
    AuditKey(#[from] AuditKeyError),
    /// The database cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// An authorization center over one directory. Cheap to clone; clones are the
/// same center. Any number of processes can open the same directory: they share
/// the actions, and a decision made in one wakes the others.
///
/// It is an [`Authority`] by itself:
///
/// ```no_run
/// # async fn example() -> Result<(), ascend_center::OpenError> {
/// use ascend_center::{Center, CenterConfig};
/// use ascend_sdk::Governor;
///
/// let center = Center::open(CenterConfig::new("./center")).await?;
/// let governor = Governor::builder(center.clone()).server_id("mcp-server-001").build();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Center(Arc<Inner>);

impl fmt::Debug for Center {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Center").field("directory", &self.0.directory).finish_non_exhaustive()
    }
}

struct Inner {
    directory: PathBuf,
    store: Arc<Store>,
    policies: Arc<Policies>,
    shadow: Option<Shadow>,
    clock: Clock,
    grant_limits: GrantLimits,
    passwords: Passwords,
    turns: Semaphore,
    /// Names this process as the one that claims.
    process: Arc<str>,
    #[cfg(feature = "http")]
    gate: Gate,
}

/// How many calls of this process are decided on at once: two full transactions, one
/// that is written and one that comes after it.
const AT_ONCE: usize = 2 * BATCH;

impl Center {
    /// Opens the center, and creates what is not there: the directory, the
    /// database, the approver's and the agent's credentials, each for its owner
    /// alone. Safe in several processes at once.
    ///
    /// # Errors
    ///
    /// When any of it cannot be created or read, or a policy has a mistake.
    pub async fn open(config: CenterConfig) -> Result<Self, OpenError> {
        #[cfg(feature = "postgres")]
        let server = config
            .database
            .map(|DatabaseUrl(url)| Storage::Server { url, adopts_keys: config.adopts_keys });
        #[cfg(not(feature = "postgres"))]
        let server = None;
        let CenterConfig {
            directory, policies, shadow, approver, durability, grant_limits, ..
        } = config;
        let (directory, storage, lock, policies, shadow, key) = spawn_blocking(move || {
            let failed = |source| OpenError::Directory { directory: directory.clone(), source };
            let directory = directory::create(&directory).map_err(failed)?;
            let failed = |source| OpenError::Directory { directory: directory.clone(), source };
            let lock = directory::lock(&directory).map_err(failed)?;
            let storage = match server {
                Some(server) => server,
                None => {
                    let file = directory.join(directory::DATABASE);
                    directory::touch(&file).map_err(failed)?;
                    Storage::File(file)
                }
            };
            if let Some(folder) = &policies.path {
                policy::install(folder)
                    .map_err(|source| OpenError::Directory { directory: folder.clone(), source })?;
            }
            let shadow = shadow.and_then(|path| {
                Policies::open_anyway(Origin { path: Some(path), ..policies.clone() })
            });
            let policies = Policies::open(policies)?;
            let key = AuditKey::ensure(&directory)?;
            Ok::<_, OpenError>((directory, storage, lock, policies, shadow, key))
        })
        .await
        .map_err(|_| StoreError::Closed)??;

        let store = Store::open(storage, durability, Arc::new(key)).await?;
        let approver = approver.unwrap_or_else(local::user_name);
        for (file, name) in [(Local::Owner, approver.as_str()), (Local::Agent, LOCAL_AGENT)] {
            let (name, hash) = local::ensure(&directory, file, name)?;
            store.install_credential(file, name, hash).await?;
        }
        drop(lock);

        let process = random::<16>().map_err(|error| StoreError::from(sqlx::Error::Io(error)))?;
        let process = hex::encode(process);
        let store = Arc::new(store);
        let policies = Arc::new(policies.counted(store.metrics().reloads()));
        let clock = Clock::start(&store);
        if policies.is_watched() {
            let store = Arc::downgrade(&store);
            tokio::spawn(Policies::watch(Arc::downgrade(&policies), "policies", move |engine| {
                Box::pin(warn_of_unmet(store.clone(), engine))
            }));
        }
        let shadow = shadow.map(|policies| {
            if let Some(error) = policies.status().refused {
                tracing::error!("the shadow policies cannot be used yet:\n{error}");
            }
            let policies = Arc::new(policies);
            let nothing = |_| -> BoxFuture<'static, ()> { Box::pin(std::future::ready(())) };
            tokio::spawn(Policies::watch(Arc::downgrade(&policies), "shadow policies", nothing));
            Shadow::start(policies, store.clone())
        });
        let center = Self(Arc::new(Inner {
            directory,
            store,
            policies,
            shadow,
            clock,
            grant_limits,
            passwords: Passwords::default(),
            turns: Semaphore::new(AT_ONCE),
            process: process.into(),
            #[cfg(feature = "http")]
            gate: Gate::default(),
        }));
        warn_of_unmet(Arc::downgrade(&center.0.store), center.engine()).await;
        Ok(center)
    }

    /// Where the center keeps everything, as an absolute path.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// How approvers reach this center: the start of a shell command, to which
    /// `pending`, `approve 7` and so on are added.
    #[must_use]
    pub fn command(&self) -> String {
        format!("ascend-center --directory {}", quoted(&self.0.directory.display().to_string()))
    }

    /// Approves a pending action. Where that takes several people, it stays
    /// pending until the last one does; [`Record::progress`] tells who is missing.
    ///
    /// # Errors
    ///
    /// When there is no such action, it is not pending any more (decided,
    /// withdrawn by its caller, or expired), it was asked with a key of the
    /// approver's own, they are in none of the groups that decide on it, or they
    /// may not approve any more.
    pub async fn approve(
        &self,
        id: i64,
        approver: &Approver,
        comment: Option<String>,
    ) -> Result<Record, DecideError> {
        let person = approver.person().clone();
        Ok(self.decided(self.0.store.vote(id, person, comment, None).await?.0))
    }

    /// Takes an approver's own approval of a pending action back.
    ///
    /// # Errors
    ///
    /// When there is no such action, it is not pending any more, or they have not
    /// approved it.
    pub async fn take_back(&self, id: i64, approver: &Approver) -> Result<Record, DecideError> {
        self.0.store.take_back(id, approver.person().clone()).await
    }

    /// Rejects a pending action.
    ///
    /// # Errors
    ///
    /// As for [`approve`](Self::approve), but for one's own: keeping that from
    /// running is no harm. One rejection is enough.
    pub async fn reject(
        &self,
        id: i64,
        approver: &Approver,
        comment: Option<String>,
    ) -> Result<Record, DecideError> {
        self.decide(id, Event::Reject, Decider::Person(approver.person().clone()), comment).await
    }

    async fn decide(
        &self,
        id: i64,
        event: Event,
        by: Decider,
        comment: Option<String>,
    ) -> Result<Record, DecideError> {
        Ok(self.decided(self.0.store.decide(id, event, by, comment).await?))
    }

    /// Counts how long the action waited, where it is decided now.
    pub(crate) fn decided(&self, record: Record) -> Record {
        if let Some(at) = record.reviewed_at {
            let waited = Duration::try_from(at.duration_since(record.created_at));
            self.metrics().waited(waited.unwrap_or_default());
        }
        record
    }

    /// The action as it stands now; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn action(&self, id: i64) -> Result<Option<Record>, StoreError> {
        self.0.store.action(id).await
    }

    /// The newest `limit` actions in `state`, or all, oldest first; of those that are
    /// pending the oldest, which expire first.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn actions(
        &self,
        state: Option<ActionState>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        self.0.store.actions(state, limit).await
    }

    /// Tells of every change, in this process or another.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.0.store.waiter_for_anything())
    }

    /// Raises the kill switch: from now on every evaluation is denied and every
    /// claim refused. Where it is raised already, the first reason stands.
    ///
    /// # Errors
    ///
    /// When the approver may not any more, or the database cannot be written.
    pub async fn kill(
        &self,
        reason: impl Into<String>,
        approver: &Approver,
    ) -> Result<(), SwitchError> {
        self.0.store.kill(reason.into(), approver.person().clone()).await
    }

    /// Releases the kill switch; whether it was raised.
    ///
    /// # Errors
    ///
    /// When the approver is no admin, or the database cannot be written.
    pub async fn release(&self, approver: &Approver) -> Result<bool, SwitchError> {
        self.0.store.release(approver.person().clone()).await
    }

    /// The kill switch; `None` unless it is raised.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn kill_switch(&self) -> Result<Option<KillSwitch>, StoreError> {
        self.0.store.kill_switch().await
    }

    /// Reads the policies again. Changed files are noticed by themselves within
    /// a second; this says at once what came of it. Whether people can meet what
    /// the new set asks for is for [`rules_without_people`](Self::rules_without_people)
    /// to say.
    ///
    /// # Errors
    ///
    /// Every mistake in the new set. The earlier set stays in use then.
    pub fn reload_policies(&self) -> Result<PolicySummary, PolicyError> {
        self.0.policies.reload()
    }

    /// Which policies are in use, and whether newer ones were refused.
    #[must_use]
    pub fn policy_status(&self) -> PolicyStatus {
        self.0.policies.status()
    }

    /// The same of the shadow policies; `None` when there are none.
    #[must_use]
    pub fn shadow_status(&self) -> Option<PolicyStatus> {
        self.0.shadow.as_ref().map(Shadow::status)
    }

    /// How the database stands; reads all of it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn condition(&self) -> Result<Condition, StoreError> {
        self.0.store.condition().await
    }

    /// Finishes what is being written and closes the database. Everything that
    /// was answered is durable without this too.
    pub async fn close(&self) {
        self.0.clock.stop();
        if let Some(shadow) = &self.0.shadow {
            shadow.close().await;
        }
        self.0.store.close().await;
    }

    /// What this process counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.0.store.metrics()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn grant_limits(&self) -> GrantLimits {
        self.0.grant_limits
    }

    /// The policies in use.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.0.policies.engine()
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    #[cfg(feature = "page")]
    pub(crate) fn policies(&self) -> &Policies {
        &self.0.policies
    }

    #[cfg(feature = "page")]
    pub(crate) fn shadow_policies(&self) -> Option<&Policies> {
        self.0.shadow.as_ref().map(Shadow::policies)
    }

    #[cfg(feature = "http")]
    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    #[cfg(feature = "http")]
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Record, SubmitError> {
        Ok(self.open_action(submission, None).await?.record)
    }

    /// Decides on a call; `claims` tells who runs it at once where it may be.
    pub(crate) async fn open_action(
        &self,
        submission: Submission,
        claims: Option<Claimant>,
    ) -> Result<Opened, SubmitError> {
        if let Some(field) = submission.unfit() {
            return Err(SubmitError::Unfit(field));
        }
        let engine = self.0.policies.engine();
        let policies = PoliciesUsed {
            hash: engine.hash(),
            count: engine.len(),
            source: self.0.policies.source(),
        };
        let begun = Instant::now();
        let covers = covers(engine.clone());
        let judged = judged(engine, &submission);
        self.metrics().evaluated(begun.elapsed());
        let for_shadow = self.0.shadow.as_ref().map(|shadow| (shadow, submission.clone()));
        let asked = submission.traceparent;
        let new = NewAction { submission, judged, policies, claims, covers };
        let opened = self.0.store.submit(new).await?;
        if opened.record.state == ActionState::Pending {
            self.0.clock.look();
        }
        if opened.record.traceparent != asked {
            // It joined the action of an earlier call.
            trace::link(&Span::current(), opened.record.traceparent);
        }
        if let Some((shadow, submission)) = for_shadow {
            shadow.ask(submission, &opened.record);
        }
        Ok(opened)
    }

    /// What policy says of a submission that is not made.
    #[cfg(feature = "http")]
    pub(crate) async fn weigh(
        &self,
        submission: Submission,
    ) -> Result<crate::store::Verdict, StoreError> {
        let (now, nothing) = (Timestamp::now(), Recent::default());
        match judged(self.0.policies.engine(), &submission) {
            Judged::Already(verdict) => Ok(verdict),
            Judged::Counting { needs, judge } => {
                let asked = submission.asked(now, &nothing);
                let recent = self.0.store.recent_before(i64::MAX, &asked, &needs).await?;
                Ok(judge(&submission, now, &recent))
            }
        }
    }

    /// The action once it is no longer pending, or as it stands after `limit`;
    /// `None` when there is none.
    pub(crate) async fn wait(
        &self,
        id: i64,
        limit: Option<Duration>,
    ) -> Result<Option<Record>, StoreError> {
        let store = &self.0.store;
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let waiter = store.waiter(id);
        loop {
            let changed = waiter.changed();
            let expiry = {
                // What is large is let go before the wait.
                let Some(record) = Box::pin(store.action(id)).await? else { return Ok(None) };
                if record.state != ActionState::Pending {
                    return Ok(Some(record));
                }
                let left = record.expires_at.duration_since(Timestamp::now());
                let left = Duration::try_from(left).unwrap_or_default() + Duration::from_millis(1);
                tokio::time::Instant::now() + left
            };
            let until = deadline.map_or(expiry, |deadline| deadline.min(expiry));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {
                    if Some(until) == deadline {
                        return Box::pin(store.action(id)).await;
                    }
                }
            }
        }
    }

    pub(crate) async fn claim_for(
        &self,
        id: i64,
        digest: Digest,
        by: &str,
        claimant: Claimant,
    ) -> Result<Claim, StoreError> {
        self.0.store.claim(id, digest, by.to_owned(), claimant).await
    }

    /// How long a promised action has left; `None` when it cannot be promised
    /// any more.
    pub(crate) async fn promise_for(
        &self,
        id: i64,
        holder: &Holder,
        by: &str,
    ) -> Result<Option<Duration>, StoreError> {
        let record = self.0.store.promise(id, holder.clone(), by.to_owned()).await?;
        Ok(record.filter(|record| record.promised).map(|record| {
            let left = record.expires_at.duration_since(Timestamp::now());
            Duration::try_from(left).unwrap_or_default()
        }))
    }

    /// What the client's user decided, where that counts.
    pub(crate) async fn confirm_for(
        &self,
        id: i64,
        confirmation: &Confirmation,
        by: &str,
    ) -> Result<Record, DecideError> {
        let session = &confirmation.session.session_id;
        let comment = format!("told by `{by}`, session {}", shown(session));
        let event = Event::Confirm(confirmation.answer);
        let by = Decider::Client(confirmation.reviewer());
        self.decide(id, event, by, Some(comment)).await
    }

    pub(crate) async fn report_for(
        &self,
        id: i64,
        outcome: Outcome,
        by: &str,
        claimant: Claimant,
    ) -> Result<Record, ReportError> {
        self.0.store.report(id, outcome, by.to_owned(), claimant).await
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        self.0.store.ping().await
    }
}

/// At once, unless a policy limits: what it counts is counted in the transaction.
fn judged(engine: Arc<Engine>, submission: &Submission) -> Judged {
    let recent = Recent::default();
    let asked = submission.asked(Timestamp::now(), &recent);
    if !engine.counts() {
        return Judged::Already(engine.evaluate(&asked));
    }
    let needs = engine.needs(&asked);
    if needs.counts_nothing() {
        return Judged::Already(engine.evaluate(&asked));
    }
    let judge = move |submission: &Submission, now, recent: &Recent| {
        engine.evaluate(&submission.asked(now, recent))
    };
    Judged::Counting { needs, judge: Box::new(judge) }
}

/// Which grants cover a call, by the policies that judge it.
fn covers(engine: Arc<Engine>) -> Covers {
    Box::new(move |submission, now, granted| {
        let nothing = Recent::default();
        engine.covered(&submission.asked(now, &nothing), granted)
    })
}

/// What [`Center::changes`] gives.
#[derive(Debug)]
pub struct Changes(Waiter);

impl Changes {
    /// Resolves at the next change after this call, however late it is polled:
    /// call it, then look, then await it, and nothing is missed. That a pending
    /// action expired is a change too.
    pub fn next(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.changed()
    }
}

impl Center {
    fn claimant(&self) -> Claimant {
        Claimant::Process(self.0.process.clone())
    }

    /// What this process asks of its own center. Thousands can ask at once; what they
    /// take in memory is made when it is their turn, and not kept by those who wait.
    async fn decide_on(
        &self,
        action: &Action,
        claims: Option<Claimant>,
    ) -> Result<Opened, AuthorityError> {
        let _turn = self.0.turns.acquire().await.map_err(failed)?;
        Box::pin(self.decide_now(action, claims)).await
    }

    async fn decide_now(
        &self,
        action: &Action,
        claims: Option<Claimant>,
    ) -> Result<Opened, AuthorityError> {
        let submission = Submission::of(action, EMBEDDED).map_err(failed)?;
        self.open_action(submission, claims).await.map_err(|error| match error {
            SubmitError::KeyReused(_) | SubmitError::Unfit(_) => {
                AuthorityError::InvalidRequest(error.to_string())
            }
            SubmitError::Store(error) => failed(error),
        })
    }
}

fn failed(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Failed(error.to_string())
}

/// No id is as large as 2^53, from where on not every reader of the log tells numbers apart.
fn number(id: &ActionId) -> Result<i64, AuthorityError> {
    let number = id.as_str().parse().ok().filter(|id| (1..1 << 53).contains(id));
    let unknown = || AuthorityError::InvalidRequest(format!("`{id}` is no id of this center"));
    number.ok_or_else(unknown)
}

impl Authority for Center {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        Box::pin(async move { Ok(self.decide_on(action, None).await?.record.evaluation()) })
    }

    fn evaluate_and_claim<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<(Evaluation, Option<Claim>), AuthorityError>> {
        Box::pin(async move {
            let Opened { record, claimed } = self.decide_on(action, Some(self.claimant())).await?;
            // In process no answer gets lost: what was claimed before is used up.
            let claim = (claimed == Claimed::Now).then_some(Claim::Granted);
            Ok((record.evaluation(), claim))
        })
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        Box::pin(async move {
            let number = number(id)?;
            let record = self.wait(number, None).await.map_err(failed)?;
            record.and_then(|record| record.review()).ok_or_else(|| {
                AuthorityError::InvalidRequest(format!("there is no action {number}"))
            })
        })
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(async move {
            let claim = self.claim_for(number(id)?, *digest, EMBEDDED, self.claimant());
            claim.await.map_err(failed)
        })
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(async move {
            match self.report_for(number(id)?, outcome.clone(), EMBEDDED, self.claimant()).await {
                Ok(_) => Ok(()),
                Err(ReportError::Store(error)) => Err(failed(error)),
                Err(error) => Err(AuthorityError::InvalidRequest(error.to_string())),
            }
        })
    }

    fn promise<'a>(
        &'a self,
        id: &'a ActionId,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Option<Duration>, AuthorityError>> {
        Box::pin(
            async move { self.promise_for(number(id)?, holder, EMBEDDED).await.map_err(failed) },
        )
    }

    fn status<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Option<Standing>, AuthorityError>> {
        Box::pin(async move {
            // What is no number of this center is no action of it.
            let record = match number(id) {
                Ok(number) => self.action(number).await.map_err(failed)?,
                Err(_) => None,
            };
            Ok(Some(record.map_or_else(|| Status::Unknown.into(), |record| record.standing())))
        })
    }

    fn confirm<'a>(
        &'a self,
        id: &'a ActionId,
        confirmation: &'a Confirmation,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(async move {
            match self.confirm_for(number(id)?, confirmation, EMBEDDED).await {
                Ok(_) => Ok(()),
                Err(DecideError::Store(error)) => Err(failed(error)),
                Err(error) => Err(AuthorityError::InvalidRequest(error.to_string())),
            }
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async move { self.ping().await.map_err(failed) })
    }

    fn describe(&self) -> String {
        format!("the embedded authorization center; approve with: {} watch", self.command())
    }
}

/// As one word of a shell command.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':');
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
