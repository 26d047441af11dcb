//! Shadow policies: asked beside the enforced ones, after these have answered,
//! and never obeyed.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use ascend_sdk::Decision;
use jiff::Timestamp;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    Center, Record, ShadowDecision, ShadowReport, StoreError,
    policy::{Policies, PolicyStatus, Recent},
    quorum::ask_same,
    store::{Store, Verdict},
    submission::Submission,
};

/// The most calls that wait to be put to the shadow policies; more are left out.
const QUEUE: usize = 1024;

/// A call that the enforced policies have answered.
struct Asked {
    submission: Submission,
    record: Record,
}

pub(crate) struct Shadow {
    policies: Arc<Policies>,
    queue: Mutex<Option<mpsc::Sender<Asked>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    left_out: AtomicU64,
}

impl Shadow {
    pub(crate) fn start(policies: Arc<Policies>, store: Arc<Store>) -> Self {
        let (queue, asked) = mpsc::channel(QUEUE);
        let task = tokio::spawn(answer(asked, policies.clone(), store));
        Self {
            policies,
            queue: Mutex::new(Some(queue)),
            task: Mutex::new(Some(task)),
            left_out: AtomicU64::new(0),
        }
    }

    #[cfg(feature = "page")]
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(crate) fn status(&self) -> PolicyStatus {
        self.policies.status()
    }

    /// Waits for nothing: what does not fit is left out, and counted in the log.
    pub(crate) fn ask(&self, submission: Submission, record: &Record) {
        // Neither a switch nor an earlier answer is the policies' doing.
        if record.is_overruled() {
            return;
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        if queue.try_send(Asked { submission, record: record.clone() }).is_err() {
            let left_out = self.left_out.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(left_out, "the shadow policies do not keep up, and miss a call");
        }
    }

    /// Finishes what is queued.
    pub(crate) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the shadow policies ended badly");
        }
    }
}

impl Center {
    /// How often the shadow policies were asked, and the newest `last` actions
    /// of which they said otherwise than was decided.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn shadow_report(&self, last: u32) -> Result<ShadowReport, StoreError> {
        self.store().shadow_report(last).await
    }
}

async fn answer(mut queue: mpsc::Receiver<Asked>, policies: Arc<Policies>, store: Arc<Store>) {
    while let Some(asked) = queue.recv().await {
        let id = asked.record.id;
        let kept = match decide(asked, &policies, &store).await {
            Ok(shadow) => store.keep_shadow(shadow).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(action = id, %error, "the shadow policies' answer is not kept");
        }
    }
}

async fn decide(
    asked: Asked,
    policies: &Policies,
    store: &Store,
) -> Result<ShadowDecision, StoreError> {
    let Asked { submission, record } = asked;
    let verdict = if policies.status().loaded_at.is_some() {
        evaluate(policies, store, submission, &record).await?
    } else {
        Err("the shadow policies have a mistake".to_owned())
    };
    let at = Timestamp::now();
    let shadow = match verdict {
        Ok(verdict) => ShadowDecision {
            action_id: record.id,
            at,
            differs: (verdict.decision, verdict.risk_score) != (record.decision, record.risk_score)
                || !ask_same(&verdict.rules, &record.rules),
            decision: verdict.decision,
            risk_score: verdict.risk_score,
            reason: verdict.reason,
            matched: verdict.matched,
            rules: verdict.rules,
        },
        Err(reason) => ShadowDecision {
            action_id: record.id,
            at,
            differs: record.decision != Decision::Deny,
            decision: Decision::Deny,
            risk_score: record.risk_score,
            reason,
            matched: Vec::new(),
            rules: Vec::new(),
        },
    };
    if shadow.differs {
        tracing::info!(
            action = shadow.action_id,
            enforced = %record.decision,
            shadow = %shadow.decision,
            enforced_risk = record.risk_score,
            shadow_risk = shadow.risk_score,
            "the shadow policies say otherwise"
        );
    }
    Ok(shadow)
}

/// Off the threads that serve, where even a panic does no harm.
async fn evaluate(
    policies: &Policies,
    store: &Store,
    submission: Submission,
    record: &Record,
) -> Result<Result<Verdict, String>, StoreError> {
    let engine = policies.engine();
    let at = record.created_at;
    let nothing = Recent::default();
    let asked = submission.asked(at, &nothing);
    let needs = engine.needs(&asked);
    let recent = if needs.counts_nothing() {
        nothing.clone()
    } else {
        store.recent_before(record.id, &asked, &needs).await?
    };
    let evaluated =
        tokio::task::spawn_blocking(move || engine.evaluate(&submission.asked(at, &recent)));
    Ok(evaluated.await.map_err(|_| "the shadow policies could not be evaluated".to_owned()))
}
