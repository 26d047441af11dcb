//! One task writes. What is queued while a transaction commits goes into the
//! next one together, so that many decisions share one `fsync`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ascend_sdk::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    News, StoreError,
    audit::Log,
    now,
    sql::{Connection, Database},
};
use crate::metrics::Metrics;

/// The most pieces of work in one transaction.
const BATCH: usize = 256;
/// The most pieces of work that wait; more than that wait to be queued.
const QUEUE: usize = 1024;

/// How long an entry of the audit log waits for a signature, at most.
const SIGN_WITHIN: Duration = Duration::from_secs(30);

/// A transaction under way.
pub(super) struct Transaction {
    pub(super) connection: Connection,
    /// When it began, in milliseconds since 1970, UTC.
    pub(super) now: i64,
    pub(super) log: Log,
    /// Whether the connection is good for nothing any more.
    is_lost: bool,
    /// The actions that have news; `None` stands for all.
    touched: Vec<Option<i64>>,
}

impl Transaction {
    /// There is news of this action; `None` stands for all.
    pub(super) fn touch(&mut self, action: Option<i64>) {
        self.touched.push(action);
    }

    /// Begins, over a new connection where the old one is lost.
    async fn begin(&mut self, database: &Database) -> Result<(), StoreError> {
        if !self.is_lost
            && let Err(error) = self.connection.begin().await.map_err(StoreError::from)
        {
            // Nothing was begun: it can have been lost since the last time.
            self.recover(&error).await;
            if !self.is_lost {
                return Err(error);
            }
        }
        if self.is_lost {
            self.connection = database.connect().await?;
            self.is_lost = false;
            self.connection.begin().await?;
        }
        self.now = now();
        self.log.begin();
        Ok(())
    }

    /// Leaves a transaction that failed.
    async fn recover(&mut self, error: &StoreError) {
        self.is_lost = !self.connection.recover(error).await;
    }
}

/// Hands a piece of work's result to whoever waits for it; an error when the
/// transaction could not be committed.
type Deliver = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Work = Box<dyn for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Done> + Send>;

struct Done {
    deliver: Deliver,
    /// Whether its changes are to be kept.
    keep: bool,
}

#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Work>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        database: Database,
        log: Log,
        news: Arc<News>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (queue, work) = mpsc::channel(QUEUE);
        let task = tokio::spawn(write(connection, database, log, work, news, metrics));
        Self { queue: Mutex::new(Some(queue)), task: Mutex::new(Some(task)) }
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |transaction| {
            Box::pin(async move {
                let result = work(transaction).await;
                let keep = result.is_ok();
                // Nobody may be waiting any more; what was written stays written.
                let deliver: Deliver = Box::new(move |committed| {
                    let _ = answer.send(committed.and(result));
                });
                Done { deliver, keep }
            })
        });
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(queue) = queue else { return Err(StoreError::Closed) };
        queue.send(work).await.map_err(|_| StoreError::Closed)?;
        drop(queue);
        answered.await.map_err(|_| StoreError::NotWritten)?
    }

    /// How much waits to be written.
    #[cfg(feature = "http")]
    pub(super) fn queued(&self) -> usize {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Finishes what is queued.
    pub(super) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the center's writer ended badly");
        }
    }
}

async fn write(
    connection: Connection,
    database: Database,
    log: Log,
    mut queue: mpsc::Receiver<Work>,
    news: Arc<News>,
    metrics: Arc<Metrics>,
) {
    let mut transaction =
        Transaction { connection, now: now(), log, is_lost: false, touched: Vec::new() };
    let mut batch = Vec::new();
    // When what this process wrote must be signed.
    let mut sign_at: Option<Instant> = None;
    loop {
        let receive = queue.recv_many(&mut batch, BATCH);
        let received = match sign_at {
            None => Ok(receive.await),
            Some(at) => timeout_at(at, receive).await,
        };
        let closed = received == Ok(0);
        if closed && sign_at.is_none() {
            break;
        }
        let sign = closed || sign_at.is_some_and(|at| at <= Instant::now());
        let mut delivered = Vec::with_capacity(batch.len());
        let (begun, size) = (Instant::now(), batch.len());
        let committing = commit(&mut transaction, &database, &mut batch, &mut delivered, sign);
        let committed = timeout(database.patience(), committing).await;
        let committed = committed.unwrap_or(Err(StoreError::NotWritten));
        match &committed {
            Ok(()) => {
                metrics.committed(transaction.log.noted(), size, begun.elapsed());
                news.tell(transaction.touched.drain(..));
            }
            Err(error) => {
                tracing::error!(%error, "the center could not write");
                transaction.touched.clear();
                transaction.log.forget();
                transaction.recover(error).await;
            }
        }
        for deliver in delivered {
            deliver(committed.clone());
        }
        // Work that did not get its turn: dropped, it answers `NotWritten`.
        batch.clear();
        if closed {
            break;
        }
        sign_at = match committed {
            Ok(()) if transaction.log.is_unsigned() => {
                sign_at.or_else(|| Some(Instant::now() + SIGN_WITHIN))
            }
            Ok(()) if sign => None,
            Err(_) if sign => Some(Instant::now() + SIGN_WITHIN),
            _ => sign_at,
        };
    }
    if !transaction.is_lost
        && let Err(error) = transaction.connection.close().await
    {
        tracing::warn!(%error, "the center's database was not closed cleanly");
    }
}

async fn commit(
    transaction: &mut Transaction,
    database: &Database,
    batch: &mut Vec<Work>,
    delivered: &mut Vec<Deliver>,
    sign: bool,
) -> Result<(), StoreError> {
    transaction.begin(database).await?;
    // Alone, it needs no place to go back to but the beginning: each statement
    // is a way to another thread and back.
    if batch.len() == 1
        && let Some(work) = batch.pop()
    {
        let mark = transaction.log.mark();
        let done = work(transaction).await;
        delivered.push(done.deliver);
        if !done.keep {
            transaction.touched.clear();
            transaction.log.back_to(mark);
            transaction.connection.run("ROLLBACK").await?;
            transaction.begin(database).await?;
        }
    }
    for work in batch.drain(..) {
        transaction.connection.run("SAVEPOINT work").await?;
        let touched = transaction.touched.len();
        let mark = transaction.log.mark();
        let done = work(transaction).await;
        delivered.push(done.deliver);
        if !done.keep {
            transaction.touched.truncate(touched);
            transaction.log.back_to(mark);
            transaction.connection.run("ROLLBACK TO work").await?;
        }
        transaction.connection.run("RELEASE work").await?;
    }
    transaction.seal(sign).await?;
    transaction.connection.commit(!transaction.touched.is_empty()).await?;
    Ok(())
}
