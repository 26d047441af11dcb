//! What is classified as a read changes nothing in a real SQLite database, even
//! on a connection that may write.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};

use ascend_sdk::classify::{Dialect, Effect, Sql};
use proptest::{prelude::*, test_runner::TestRunner};
use sqlx::{AssertSqlSafe, ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};

const SCHEMA: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, active BOOLEAN);
INSERT INTO users VALUES (1, 'a', 1), (2, 'b', 0);
CREATE TABLE log (entry TEXT);
CREATE VIEW actives AS SELECT * FROM users WHERE active;
CREATE TRIGGER logged AFTER DELETE ON users BEGIN INSERT INTO log VALUES (old.name); END;
";

async fn database() -> SqliteConnection {
    let mut connection = SqliteConnectOptions::new()
        .in_memory(true)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.unwrap();
    connection
}

/// Everything that a statement can change.
async fn state(connection: &mut SqliteConnection) -> Vec<String> {
    let mut state = Vec::new();
    for text in [
        "SELECT total_changes()",
        "SELECT group_concat(type || name || sql) FROM sqlite_schema",
        "SELECT count(*) FROM sqlite_temp_schema",
        "SELECT group_concat(id || name || active) FROM users",
        "SELECT count(*) FROM log",
        "SELECT group_concat(name || file) FROM pragma_database_list",
        "SELECT user_version || '' FROM pragma_user_version",
        "SELECT application_id || '' FROM pragma_application_id",
        "SELECT schema_version || '' FROM pragma_schema_version",
        "SELECT foreign_keys || '' FROM pragma_foreign_keys",
        "SELECT query_only || '' FROM pragma_query_only",
        "SELECT writable_schema || '' FROM pragma_writable_schema",
        "SELECT recursive_triggers || '' FROM pragma_recursive_triggers",
    ] {
        // An error tells of a change as well: the table is gone.
        let value: Result<Option<String>, String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT CAST(({text}) AS TEXT)")))
                .fetch_one(&mut *connection)
                .await
                .map_err(|error| error.to_string());
        state.push(format!("{text}: {value:?}"));
    }
    // A transaction left open would refuse this.
    sqlx::raw_sql("BEGIN; ROLLBACK").execute(&mut *connection).await.unwrap();
    state
}

/// Ordinary statements, to be cut up and joined.
const CORPUS: &[&str] = &[
    "SELECT * FROM users WHERE active = 1 AND name LIKE 'a%'",
    "SELECT count(*), max(id) FROM users GROUP BY active HAVING count(*) > 0 ORDER BY 1 LIMIT 3",
    "WITH x AS (SELECT id FROM users) SELECT * FROM x JOIN users USING (id)",
    "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n",
    "SELECT (SELECT name FROM users u WHERE u.id = users.id) FROM users UNION SELECT 'x'",
    "SELECT CASE WHEN id > 1 THEN lower(name) ELSE replace(name, 'a', 'b') END FROM actives",
    "SELECT row_number() OVER (ORDER BY id) FROM users",
    "SELECT json_extract('{\"a\":1}', '$.a'), date('now'), x'00', :p, ?1",
    "VALUES (1, 2), (3, 4)",
    "EXPLAIN QUERY PLAN SELECT * FROM users",
    "EXPLAIN DELETE FROM users",
    "PRAGMA table_info(users)",
    "PRAGMA user_version",
    "PRAGMA user_version = 7",
    "PRAGMA foreign_keys(0)",
    "PRAGMA writable_schema = ON",
    "SELECT * FROM pragma_table_info('users')",
    "SELECT 'DELETE FROM users' /* ; DELETE FROM users */ -- ; DROP TABLE users",
    "SELECT \"a;b\", [c d], `e` FROM users",
    "DELETE FROM users WHERE id = 1",
    "DELETE FROM users RETURNING *",
    "UPDATE users SET name = 'x' RETURNING id",
    "INSERT INTO users VALUES (3, 'c', 1)",
    "INSERT OR REPLACE INTO users VALUES (1, 'z', 1)",
    "REPLACE INTO users VALUES (1, 'y', 1)",
    "INSERT INTO log SELECT name FROM users",
    "WITH x AS (SELECT 1) DELETE FROM users",
    "WITH x AS (SELECT 1) INSERT INTO log SELECT * FROM x",
    "CREATE TABLE t AS SELECT * FROM users",
    "CREATE TEMP TABLE t (a)",
    "DROP TABLE users",
    "DROP VIEW actives",
    "ALTER TABLE users ADD COLUMN x",
    "ATTACH ':memory:' AS other",
    "BEGIN",
    "SAVEPOINT s",
    "REINDEX",
    "ANALYZE",
];

const PIECES: &[&str] = &[
    ";",
    ";;",
    " ",
    "\n",
    "\r",
    "\t",
    "--",
    "-- \n",
    "--\r",
    "/*",
    "*/",
    "/**/",
    "/* /* */",
    "'",
    "\"",
    "`",
    "[",
    "]",
    "(",
    ")",
    ",",
    "\\",
    "\\'",
    "$$",
    "$x$",
    "#",
    "E'",
    "x'",
    "\0",
    "\u{a0}",
    "\u{feff}",
    "\u{2028}",
    "=",
    "DELETE FROM users",
    "DROP TABLE log",
    "; DELETE FROM users",
    "; DELETE FROM users --",
    "*/ ; DELETE FROM users; /*",
    "UPDATE users SET name = 'q'",
    "INSERT INTO log VALUES (1)",
    "WITH",
    "AS",
    "SELECT",
    "FROM",
    "users",
    "EXPLAIN",
    "PRAGMA",
    "RETURNING *",
    "UNION",
];

/// Two statements cut and joined, with pieces put in.
fn text() -> impl Strategy<Value = String> {
    let statement = || prop::sample::select(CORPUS);
    let pieces =
        prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(PIECES)), 0..4);
    (
        statement(),
        statement(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0..3,
        pieces,
    )
        .prop_map(|(one, other, cut, end, how, pieces)| {
            let mut text = match how {
                0 => one.to_owned(),
                1 => format!("{one}{other}"),
                _ => {
                    format!("{}{}", &one[..cut.index(one.len())], &other[end.index(other.len())..])
                }
            };
            for (at, piece) in pieces {
                let places: Vec<usize> =
                    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                text.insert_str(places[at.index(places.len())], piece);
            }
            text
        })
}

#[test]
fn what_is_classified_as_a_read_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = RefCell::new(runtime.block_on(database()));
    let before = runtime.block_on(state(&mut connection.borrow_mut()));
    let (read, ran, other) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 10_000, failure_persistence: None, ..Default::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&text(), |text| {
        if Sql::new(Dialect::Sqlite).classify(&text).effect != Effect::Read {
            other.set(other.get() + 1);
            return Ok(());
        }
        read.set(read.get() + 1);
        let connection = &mut *connection.borrow_mut();
        let result = runtime
            .block_on(sqlx::raw_sql(AssertSqlSafe(text.clone())).fetch_all(&mut *connection));
        ran.set(ran.get() + usize::from(result.is_ok()));
        prop_assert_eq!(&runtime.block_on(state(connection)), &before, "{}", text);
        Ok(())
    });
    result.unwrap();
    let (read, ran, other) = (read.get(), ran.get(), other.get());
    // Neither kind is so rare that nothing was tried.
    assert!(read > 300 && ran > 200 && other > 1000, "{read} read, {ran} ran, {other} others");
}

/// The check above can fail: it sees each kind of change.
#[tokio::test]
async fn what_writes_is_seen_to_change_something() {
    for text in CORPUS {
        let mut connection = database().await;
        let before = state(&mut connection).await;
        if sqlx::raw_sql(*text).fetch_all(&mut connection).await.is_err() {
            continue;
        }
        let found = Sql::new(Dialect::Sqlite).classify(text);
        let open = sqlx::raw_sql("BEGIN; ROLLBACK").execute(&mut connection).await.is_err();
        if open {
            assert_ne!(found.effect, Effect::Read, "{text}");
            continue;
        }
        let changed = state(&mut connection).await != before;
        assert!(!changed || found.effect != Effect::Read, "{text}");
        let writes = ["DELETE", "UPDATE", "INSERT", "CREATE", "DROP", "ALTER", "ATTACH"];
        if writes.iter().any(|word| text.starts_with(word)) {
            assert!(changed, "{text}");
        }
    }
}
