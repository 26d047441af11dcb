//! One task writes. What is queued while a transaction commits goes into the
//! next one together, so that many decisions share one `fsync`.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use ascend_sdk::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    News, StoreError,
    audit::Log,
    now,
    sql::{Connection, Copier, Database},
};
use crate::metrics::Metrics;

/// The most pieces of work in one transaction.
pub(crate) const BATCH: usize = 256;
/// The most pieces of work that wait; more than that wait to be queued.
const QUEUE: usize = 1024;

/// After how many pieces of work SQLite's write-ahead log is copied into its file.
const COPY_AFTER: usize = 512;

/// How long work that nobody waits for may wait for other work to come with.
const LINGER: Duration = Duration::from_millis(1);

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

pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Work>>>,
    later: Later,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// What goes into the next transaction, whatever begins it.
type Later = Arc<Mutex<Vec<Work>>>;

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        database: Database,
        log: Log,
        news: Arc<News>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (queue, work) = mpsc::channel(QUEUE);
        let (ends, ended) = oneshot::channel();
        let later = Later::default();
        let is_file = matches!(database, Database::Sqlite(_));
        let writing = Writing {
            transaction: Transaction {
                connection: connection.here(),
                now: now(),
                log,
                is_lost: false,
                touched: Vec::new(),
            },
            database,
            queue: queue.downgrade(),
            later: later.clone(),
            news,
            metrics,
            uncopied: 0,
            copying: None,
        };
        let writing = async move {
            writing.serve(work).await;
            // Whoever waits for it may be gone.
            let _ = ends.send(());
        };
        let runtime = Handle::current();
        if is_file {
            // It blocks, and waits for nothing but work.
            thread::Builder::new().name("center-writer".to_owned()).spawn(move || {
                let _context = runtime.enter();
                futures_executor::block_on(writing);
            })?;
        } else {
            runtime.spawn(writing);
        }
        Ok(Self { queue: Mutex::new(Some(queue)), later, ended: Mutex::new(Some(ended)) })
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let (work, answered) = answering(work);
        self.queue()?.send(work).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::NotWritten)?
    }

    /// The same for work whose end nobody is held up by: where no other work comes
    /// soon, it begins a transaction by itself.
    pub(super) async fn run_later<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let (work, answered) = answering(work);
        let queue = self.queue()?;
        let is_first = {
            let mut later = lock(&self.later);
            later.push(work);
            later.len() == 1
        };
        if is_first {
            let later = self.later.clone();
            tokio::spawn(async move {
                sleep(LINGER).await;
                // A queue that is closed takes it along at its end. Where the writer is
                // gone nothing does: dropped, it answers `NotWritten`.
                if queue.send(nothing()).await.is_err() {
                    lock(&later).clear();
                }
            });
        }
        answered.await.map_err(|_| StoreError::NotWritten)?
    }

    fn queue(&self) -> Result<mpsc::Sender<Work>, StoreError> {
        lock(&self.queue).clone().ok_or(StoreError::Closed)
    }

    /// How much waits to be written.
    #[cfg(feature = "http")]
    pub(super) fn queued(&self) -> usize {
        let queue = lock(&self.queue);
        queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Finishes what is queued.
    pub(super) async fn close(&self) {
        lock(&self.queue).take();
        let ended = lock(&self.ended).take();
        if let Some(ended) = ended
            && ended.await.is_err()
        {
            tracing::error!("the center's writer ended badly");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work that tells what became of it.
fn answering<T, F>(work: F) -> (Work, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
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
    (work, answered)
}

/// Work that only begins a transaction.
fn nothing() -> Work {
    Box::new(|_| Box::pin(async { Done { deliver: Box::new(|_| ()), keep: true } }))
}

/// What writes.
struct Writing {
    transaction: Transaction,
    database: Database,
    /// To ask itself for a signature; not held, so that the queue can end.
    queue: mpsc::WeakSender<Work>,
    later: Later,
    news: Arc<News>,
    metrics: Arc<Metrics>,
    /// How much was written since the log was last copied.
    uncopied: usize,
    copying: Option<JoinHandle<Option<Copier>>>,
}

impl Writing {
    /// Without a timer of its own: over SQLite the runtime may end before it.
    async fn serve(mut self, mut queue: mpsc::Receiver<Work>) {
        let mut batch = Vec::new();
        // When what this process wrote must be signed.
        let mut sign_at: Option<Instant> = None;
        loop {
            let closed = queue.recv_many(&mut batch, BATCH).await == 0;
            batch.append(&mut lock(&self.later));
            if closed && batch.is_empty() && sign_at.is_none() {
                break;
            }
            let sign = closed || sign_at.is_some_and(|at| at <= Instant::now());
            let committed = self.commit(&mut batch, sign).await;
            if closed {
                break;
            }
            let earlier = sign_at;
            sign_at = match committed {
                Ok(()) if self.transaction.log.is_unsigned() => {
                    sign_at.or_else(|| Some(Instant::now() + SIGN_WITHIN))
                }
                Ok(()) if sign => None,
                Err(_) if sign => Some(Instant::now() + SIGN_WITHIN),
                _ => sign_at,
            };
            if let Some(at) = sign_at
                && sign_at != earlier
            {
                self.ask_to_sign(at);
            }
        }
        if let Some(copying) = self.copying {
            // It says itself how it went, and where the runtime ended it did not begin.
            let _ = copying.await;
        }
        if !self.transaction.is_lost
            && let Err(error) = self.transaction.connection.close().await
        {
            tracing::warn!(%error, "the center's database was not closed cleanly");
        }
    }

    /// Queues work that changes nothing, so that what is due gets its signature.
    fn ask_to_sign(&self, at: Instant) {
        let queue = self.queue.clone();
        Handle::current().spawn(async move {
            sleep_until(at).await;
            if let Some(queue) = queue.upgrade() {
                // Once the queue is closed, the end of it signs.
                let _ = queue.send(nothing()).await;
            }
        });
    }

    /// Writes what was queued, and tells whoever waits for it.
    async fn commit(&mut self, batch: &mut Vec<Work>, sign: bool) -> Result<(), StoreError> {
        let Self { transaction, database, .. } = self;
        let mut delivered = Vec::with_capacity(batch.len());
        let (begun, size) = (Instant::now(), batch.len());
        let committing = commit(transaction, database, batch, &mut delivered, sign);
        let committed = match database.patience() {
            None => committing.await,
            Some(patience) => {
                timeout(patience, committing).await.unwrap_or(Err(StoreError::NotWritten))
            }
        };
        match &committed {
            Ok(()) => {
                self.metrics.committed(transaction.log.noted(), size, begun.elapsed());
                self.news.tell(transaction.touched.drain(..));
                self.uncopied += size;
                let is_copied = self.copying.as_ref().is_none_or(JoinHandle::is_finished);
                if self.uncopied >= COPY_AFTER && is_copied {
                    self.uncopied = 0;
                    let copier = match self.copying.take() {
                        Some(copied) => copied.await.ok().flatten(),
                        None => None,
                    };
                    self.copying = database.copy_log(copier);
                }
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
        committed
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
    for (index, work) in batch.drain(..).enumerate() {
        // The first needs no place to go back to but the beginning.
        let is_first = index == 0;
        if !is_first {
            transaction.connection.run("SAVEPOINT work").await?;
        }
        let touched = transaction.touched.len();
        let mark = transaction.log.mark();
        let done = work(transaction).await;
        delivered.push(done.deliver);
        if !done.keep {
            transaction.touched.truncate(touched);
            transaction.log.back_to(mark);
            if is_first {
                transaction.connection.run("ROLLBACK").await?;
                transaction.begin(database).await?;
            } else {
                transaction.connection.run("ROLLBACK TO work").await?;
            }
        }
        if !is_first {
            transaction.connection.run("RELEASE work").await?;
        }
    }
    transaction.seal(sign).await?;
    transaction.connection.commit(!transaction.touched.is_empty()).await?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use crate::{
        Center, CenterConfig,
        store::{sql, *},
    };

    /// Writes a row, and fails after that.
    fn row(
        value: i64,
        fails: bool,
    ) -> impl for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<(), StoreError>> + Send + 'static
    {
        move |transaction| {
            Box::pin(async move {
                let written = sql::query("INSERT INTO rows VALUES ($1)").bind(value);
                written.execute(&mut transaction.connection).await?;
                if fails { Err(StoreError::AuditState) } else { Ok(()) }
            })
        }
    }

    /// One of two in a transaction fails, the first or the second.
    #[tokio::test]
    async fn what_fails_takes_nothing_else_along() {
        let directory = tempfile::tempdir().unwrap();
        let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
        let store = center.store();
        let table = "CREATE TABLE rows (value)";
        store
            .write(move |transaction| {
                Box::pin(async move { Ok(transaction.connection.run(table).await?) })
            })
            .await
            .unwrap();
        for (first, fails_first) in [(1, true), (3, false)] {
            // What comes later is in it when the other one begins it.
            let (second, first) = tokio::join!(
                store.write_later(row(first + 1, !fails_first)),
                store.write(row(first, fails_first)),
            );
            assert_eq!((first.is_err(), second.is_err()), (fails_first, !fails_first));
        }
        let rows: Vec<i64> = sql::query_scalar("SELECT value FROM rows ORDER BY value")
            .fetch_all(&store.readers)
            .await
            .unwrap();
        assert_eq!(rows, [2, 3]);
        center.close().await;
    }
}
