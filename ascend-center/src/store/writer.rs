//! One task writes. What is queued while a transaction commits goes into the
//! next one together, so that many decisions share one `fsync`.

use std::sync::{Arc, Mutex, PoisonError};

use ascend_sdk::BoxFuture;
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{News, StoreError, now};

/// The most pieces of work in one transaction.
const BATCH: usize = 256;
/// The most pieces of work that wait; more than that wait to be queued.
const QUEUE: usize = 1024;

/// A transaction under way.
pub(super) struct Transaction {
    pub(super) connection: SqliteConnection,
    /// When it began, in milliseconds since 1970, UTC.
    pub(super) now: i64,
    /// The actions that have news; `None` stands for all.
    touched: Vec<Option<i64>>,
}

impl Transaction {
    /// Adds to the record.
    pub(super) async fn note(
        &mut self,
        action: Option<i64>,
        kind: &str,
        by: &str,
        detail: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO events (action_id, kind, at, by, detail) VALUES (?, ?, ?, ?, ?)")
            .bind(action)
            .bind(kind)
            .bind(self.now)
            .bind(by)
            .bind(detail)
            .execute(&mut self.connection)
            .await?;
        self.touched.push(action);
        Ok(())
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
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        news: Arc<News>,
    ) -> Self {
        let (queue, work) = mpsc::channel(QUEUE);
        let task = tokio::spawn(write(connection, options, work, news));
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
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    mut queue: mpsc::Receiver<Work>,
    news: Arc<News>,
) {
    let mut transaction = Transaction { connection, now: now(), touched: Vec::new() };
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let mut delivered = Vec::with_capacity(batch.len());
        let committed = commit(&mut transaction, &mut batch, &mut delivered).await;
        match &committed {
            Ok(()) => news.tell(transaction.touched.drain(..)),
            Err(error) => {
                tracing::error!(%error, "the center could not write");
                transaction.touched.clear();
                recover(&mut transaction, &options).await;
            }
        }
        for deliver in delivered {
            deliver(committed.clone());
        }
        // Work that did not get its turn: dropped, it answers `NotWritten`.
        batch.clear();
    }
    if let Err(error) = transaction.connection.close().await {
        tracing::warn!(%error, "the center's database was not closed cleanly");
    }
}

async fn commit(
    transaction: &mut Transaction,
    batch: &mut Vec<Work>,
    delivered: &mut Vec<Deliver>,
) -> Result<(), StoreError> {
    // Immediate: a transaction that reads first and then wants to write would
    // fail where another process wrote in between.
    transaction.connection.execute("BEGIN IMMEDIATE").await?;
    transaction.now = now();
    // Alone, it needs no place to go back to but the beginning: each statement
    // is a way to another thread and back.
    if batch.len() == 1
        && let Some(work) = batch.pop()
    {
        let done = work(transaction).await;
        delivered.push(done.deliver);
        if !done.keep {
            transaction.touched.clear();
            transaction.connection.execute("ROLLBACK").await?;
            return Ok(());
        }
    }
    for work in batch.drain(..) {
        transaction.connection.execute("SAVEPOINT work").await?;
        let touched = transaction.touched.len();
        let done = work(transaction).await;
        delivered.push(done.deliver);
        if !done.keep {
            transaction.touched.truncate(touched);
            transaction.connection.execute("ROLLBACK TO work").await?;
        }
        transaction.connection.execute("RELEASE work").await?;
    }
    transaction.connection.execute("COMMIT").await?;
    Ok(())
}

/// Leaves the failed transaction; when that fails too, the connection is replaced.
async fn recover(transaction: &mut Transaction, options: &SqliteConnectOptions) {
    // Without a transaction under way this fails, which tells the same.
    let _ = transaction.connection.execute("ROLLBACK").await;
    if transaction.connection.execute("SELECT 1").await.is_err() {
        match options.connect().await {
            Ok(connection) => transaction.connection = connection,
            Err(error) => tracing::error!(%error, "the center's database cannot be opened again"),
        }
    }
}
