#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;

use super::*;

async fn open(sample: Sample) -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(directory.path(), sample).await.unwrap();
    (directory, database)
}

async fn count(database: &Database, text: &str) -> i64 {
    database.query(text).await.unwrap().rows[0][0].as_i64().unwrap()
}

#[tokio::test]
async fn the_samples_hold_what_the_scenarios_ask_for() {
    let directory = tempfile::tempdir().unwrap();
    for (sample, users) in
        [(Sample::Production, 120), (Sample::Staging, 40), (Sample::Development, 10)]
    {
        let database = Database::open(directory.path(), sample).await.unwrap();
        assert_eq!(count(&database, "SELECT count(*) FROM users").await, users);
        let active = database.query("SELECT * FROM users WHERE active = true").await.unwrap();
        assert_eq!(active.columns, ["id", "name", "email", "active", "created_at", "last_login"]);
        let away =
            count(&database, "SELECT count(*) FROM users WHERE last_login < '2025-01-01'").await;
        assert_eq!(away, users / 4);
        assert!(count(&database, "SELECT count(*) FROM orders").await > users);
    }
    let analytics = Database::open(directory.path(), Sample::Analytics).await.unwrap();
    assert_eq!(count(&analytics, "SELECT count(*) FROM events").await, 2400);
    assert_eq!(count(&analytics, "SELECT count(DISTINCT kind) FROM events").await, 5);
    assert_eq!(count(&analytics, "SELECT count(*) FROM customers").await, 60);
    assert_eq!(count(&analytics, "SELECT count(DISTINCT plan) FROM customers").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_it_first_and_it_is_seeded_once() {
    let directory = tempfile::tempdir().unwrap();
    let opened = futures_util::future::join_all((0..8).map(|_| {
        let path = directory.path().to_owned();
        tokio::spawn(async move { Database::open(&path, Sample::Production).await.unwrap() })
    }))
    .await;
    for database in opened {
        assert_eq!(count(&database.unwrap(), "SELECT count(*) FROM users").await, 120);
    }
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("production.sqlite"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_second_start_keeps_what_was_changed() {
    let (directory, database) = open(Sample::Development).await;
    database.run("UPDATE users SET name = 'Renamed' WHERE id = 1").await.unwrap();
    database.close().await;
    let database = Database::open(directory.path(), Sample::Development).await.unwrap();
    let rows = database.query("SELECT name FROM users WHERE id = 1").await.unwrap();
    assert_eq!(rows.rows, [[json!("Renamed")]]);
}

#[tokio::test]
async fn values_of_every_kind() {
    let (_directory, database) = open(Sample::Development).await;
    let rows = database
        .query("SELECT 1 AS a, 1.5 AS b, 'x' AS c, x'0aff' AS d, NULL AS e, 9223372036854775807 AS f, 9e999 AS g")
        .await
        .unwrap();
    assert_eq!(rows.columns, ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(
        rows.rows,
        [[
            json!(1),
            json!(1.5),
            json!("x"),
            json!("x'0aff'"),
            json!(null),
            json!(i64::MAX),
            json!("inf")
        ]]
    );
    let none = database.query("SELECT id, name FROM users WHERE false").await.unwrap();
    assert_eq!((none.columns.len(), none.rows.len(), none.truncated), (2, 0, false));
}

#[tokio::test]
async fn a_query_only_reads() {
    let (_directory, database) = open(Sample::Development).await;
    for text in [
        "DELETE FROM users",
        "SELECT 1; DELETE FROM users",
        "WITH x AS (SELECT 1) DELETE FROM users",
        "PRAGMA user_version = 7",
        "SELECT load_extension('x')",
        "ATTACH '/tmp/x' AS x",
    ] {
        let error = database.query(text).await.unwrap_err();
        assert!(matches!(error, DatabaseError::NotARead(_)), "{text}: {error}");
    }
    assert_eq!(count(&database, "SELECT count(*) FROM users").await, 10);
}

/// The wall behind the classification: had it misjudged the text, nothing
/// could be written all the same.
#[tokio::test]
async fn the_reading_connection_cannot_write() {
    let (_directory, database) = open(Sample::Development).await;
    for text in [
        "DELETE FROM users",
        "INSERT INTO users VALUES (99, 'a', 'b', 1, 'c', 'd')",
        "CREATE TABLE t (a)",
        "PRAGMA user_version = 7",
        "PRAGMA query_only = OFF; DELETE FROM users",
    ] {
        let error = database.read(text).await.unwrap_err();
        let DatabaseError::Sql(message) = &error else { panic!("{text}: {error}") };
        assert!(message.contains("readonly"), "{text}: {message}");
    }
    assert!(database.read("SELECT load_extension('x')").await.is_err());
    assert_eq!(count(&database, "SELECT count(*) FROM users").await, 10);
}

#[tokio::test]
async fn results_are_cut_at_the_limits() {
    let (_directory, database) = open(Sample::Analytics).await;
    let rows = database.query("SELECT id FROM events").await.unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (ROW_LIMIT, true));
    let rows = database.query("SELECT id FROM events LIMIT 1000").await.unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (ROW_LIMIT, false));
    let wide = "SELECT printf('%.*c', 100000, 'x') FROM events";
    let rows = database.query(wide).await.unwrap();
    assert_eq!((rows.rows.len(), rows.truncated), (2, true));
    let huge = database.query("SELECT printf('%.*c', 300000, 'x')").await.unwrap();
    assert_eq!((huge.rows.len(), huge.truncated), (0, true));
}

#[tokio::test]
async fn a_statement_that_runs_too_long_is_stopped_and_undone() {
    let (_directory, mut database) = open(Sample::Analytics).await;
    database.time_limit = Duration::from_millis(50);
    let endless =
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let error = database.query(endless).await.unwrap_err();
    assert!(matches!(error, DatabaseError::TimedOut), "{error}");
    let slow = "DELETE FROM events WHERE id > 0 AND (SELECT count(*) FROM events a, events b) > 0";
    let error = database.run(slow).await.unwrap_err();
    assert!(matches!(error, DatabaseError::TimedOut), "{error}");
    // The connections are as good as before.
    database.time_limit = TIME_LIMIT;
    assert_eq!(count(&database, "SELECT count(*) FROM events").await, 2400);
    assert_eq!(database.run("DELETE FROM events WHERE id = 1").await.unwrap().rows_affected, 1);
}

#[tokio::test]
async fn memory_is_limited() {
    let (_directory, database) = open(Sample::Development).await;
    let error = database.query("SELECT length(printf('%.*c', 900000000, 'x'))").await.unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
    assert_eq!(count(&database, "SELECT count(*) FROM users").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_abandoned_is_undone() {
    let (_directory, mut database) = open(Sample::Analytics).await;
    database.time_limit = Duration::from_millis(300);
    for _ in 0..3 {
        let writing = tokio::spawn({
            let database = database.clone();
            let slow = "DELETE FROM events WHERE (SELECT count(*) FROM events a, events b) > 0";
            async move { database.run(slow).await }
        });
        // Under way once the connection is taken.
        while database.writer.num_idle() == 1 {
            tokio::task::yield_now().await;
        }
        writing.abort();
        let _ = writing.await;
        assert_eq!(count(&database, "SELECT count(*) FROM events").await, 2400);
    }
    let outcome = database.run("UPDATE events SET page = '/' WHERE id = 1").await.unwrap();
    assert_eq!(outcome.rows_affected, 1);
}

#[tokio::test]
async fn statements_that_change_report_what_they_did() {
    let (_directory, database) = open(Sample::Development).await;
    let outcome = database.run("UPDATE users SET active = 0 WHERE active = 1").await.unwrap();
    assert_eq!(outcome.rows_affected, 8);
    let outcome = database.run("DELETE FROM users WHERE id <= 2 RETURNING id").await.unwrap();
    assert_eq!((outcome.rows_affected, outcome.rows.rows.len()), (2, 2));
    let outcome = database.run("SELECT count(*) FROM users").await.unwrap();
    assert_eq!((outcome.rows_affected, &outcome.rows.rows[0][0]), (0, &json!(8)));
    database.run("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)").await.unwrap();
    database.run("ALTER TABLE notes ADD COLUMN at TEXT").await.unwrap();
    database.run("INSERT INTO notes (text) VALUES ('a'), ('b')").await.unwrap();
    assert_eq!(count(&database, "SELECT count(*) FROM notes").await, 2);
    database.run("DROP TABLE notes").await.unwrap();
    assert!(database.query("SELECT * FROM notes").await.is_err());
}

#[tokio::test]
async fn a_failing_statement_changes_nothing() {
    let (_directory, database) = open(Sample::Development).await;
    let error = database.run("UPDATE users SET email = 'same'").await.unwrap_err();
    assert!(matches!(&error, DatabaseError::Sql(m) if m.contains("UNIQUE")), "{error}");
    assert_eq!(count(&database, "SELECT count(*) FROM users WHERE email = 'same'").await, 0);
    let error = database.query("SELECT missing FROM users").await.unwrap_err();
    assert!(error.to_string().contains("no such column"), "{error}");
}

#[tokio::test]
async fn statements_that_never_run() {
    let (_directory, database) = open(Sample::Development).await;
    for text in [
        "UPDATE users SET active = 0; DELETE FROM users",
        "ATTACH '/tmp/x' AS x",
        "PRAGMA journal_mode = DELETE",
        "VACUUM INTO '/tmp/x'",
        "BEGIN",
        "COMMIT",
        "SELECT load_extension('x')",
        "nonsense",
        "",
    ] {
        let error = database.run(text).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Unsupported(_)), "{text}: {error}");
    }
}

#[tokio::test]
async fn delete_removes_what_the_condition_says() {
    let (_directory, database) = open(Sample::Production).await;
    assert_eq!(database.delete("users", "last_login < '2025-01-01'").await.unwrap(), 30);
    assert_eq!(count(&database, "SELECT count(*) FROM users").await, 90);
    assert_eq!(database.delete("USERS", "id = 0").await.unwrap(), 0);
    database.run("CREATE TABLE \"a \"\"b\" (x)").await.unwrap();
    database.run("INSERT INTO \"a \"\"b\" VALUES (1)").await.unwrap();
    assert_eq!(database.delete("a \"b", "x = 1").await.unwrap(), 1);
}

#[tokio::test]
async fn delete_takes_only_tables_and_conditions() {
    let (_directory, database) = open(Sample::Production).await;
    for table in [
        "nobody",
        "users; DROP TABLE users",
        "users WHERE 1=1 --",
        "\"users\"",
        "main.users",
        "",
        "sqlite_schema",
        "users_by_last_login",
    ] {
        let error = database.delete(table, "id = 1").await.unwrap_err();
        assert!(matches!(error, DatabaseError::UnknownTable { .. }), "{table}: {error}");
    }
    for condition in [
        "",
        "id = 1; DROP TABLE users",
        "1=1) OR (1=1",
        "id = 1 --",
        "WHERE id = 1",
        "load_extension('x')",
        "id = 1 RETURNING *",
    ] {
        let error = database.delete("users", condition).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Condition(_)), "{condition}: {error}");
    }
    assert_eq!(count(&database, "SELECT count(*) FROM users").await, 120);
}
