//! Any single change is found.

use ascend_center::AuditError;
use jiff::Timestamp;
use proptest::{prelude::*, test_runner::TestRunner};
use sqlx::{Executor, SqliteConnection};

use super::{
    broken, intruder, live,
    support::{database::in_file, open},
    verify,
};

/// One change to what is stored.
#[derive(Debug, Clone)]
enum Change {
    /// A byte of a column, in the row with this index.
    Byte {
        column: usize,
        row: usize,
        at: usize,
        xor: u8,
    },
    Renumber {
        heads: bool,
        row: usize,
        to: i64,
    },
    Delete {
        heads: bool,
        row: usize,
    },
    Swap {
        row: usize,
        with: usize,
    },
    Append {
        copy_of: usize,
    },
    End {
        which: usize,
        add: i64,
    },
    Action {
        column: usize,
    },
}

/// Columns whose bytes are changed: table, key, column, type.
const BYTES: [(&str, &str, &str, &str); 8] = [
    ("audit", "seq", "entry", "TEXT"),
    ("audit", "seq", "hash", "BLOB"),
    ("audit_heads", "seq", "head", "TEXT"),
    ("audit_heads", "seq", "signature", "BLOB"),
    ("audit_checkpoint", "id", "checkpoint", "TEXT"),
    ("audit_checkpoint", "id", "signature", "BLOB"),
    ("audit_state", "id", "chain", "BLOB"),
    ("audit_state", "id", "hash", "BLOB"),
];

const ACTIONS: [&str; 11] = [
    "state = 'completed'",
    "expires_at = expires_at + 1",
    "reviewed_by = 'mallory'",
    "requested_by = 'mallory'",
    "decision = 'ALLOW'",
    "digest = replace(digest, '01', '02')",
    "parameters = '{}'",
    "resource = 'elsewhere'",
    "summary = 'Harmless'",
    "outcome = 'all went well'",
    "id = 77",
];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0..BYTES.len(), 0..20_usize, any::<usize>(), 1..=255_u8)
            .prop_map(|(column, row, at, xor)| Change::Byte { column, row, at, xor }),
        1 => (any::<bool>(), 0..20_usize, 0..40_i64)
            .prop_map(|(heads, row, to)| Change::Renumber { heads, row, to }),
        1 => (any::<bool>(), 0..20_usize).prop_map(|(heads, row)| Change::Delete { heads, row }),
        1 => (0..20_usize, 0..20_usize).prop_map(|(row, with)| Change::Swap { row, with }),
        1 => (0..20_usize).prop_map(|copy_of| Change::Append { copy_of }),
        1 => (0..5_usize, prop::sample::select(vec![-2_i64, -1, 1, 2]))
            .prop_map(|(which, add)| Change::End { which, add }),
        1 => (0..ACTIONS.len()).prop_map(|column| Change::Action { column }),
    ]
}

async fn keys(database: &mut SqliteConnection, table: &str, key: &str) -> Vec<i64> {
    let query = format!("SELECT {key} FROM {table} ORDER BY {key}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(database).await.unwrap()
}

async fn run(database: &mut SqliteConnection, statement: String) -> bool {
    let result = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(database).await;
    result.is_ok_and(|done| done.rows_affected() > 0)
}

/// Makes the change; whether there was anything to change.
async fn apply(database: &mut SqliteConnection, change: &Change) -> bool {
    let table = |heads: bool| if heads { "audit_heads" } else { "audit" };
    match *change {
        Change::Byte { column, row, at, xor } => {
            let (table, key, column, kind) = BYTES[column];
            let rows = keys(database, table, key).await;
            if rows.is_empty() {
                return false;
            }
            let row = rows[row % rows.len()];
            let query = format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE {key} = {row}");
            let mut bytes: Vec<u8> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .fetch_one(&mut *database)
                .await
                .unwrap();
            let at = at % bytes.len();
            bytes[at] ^= xor;
            let value = format!("CAST(x'{}' AS {kind})", hex::encode(bytes));
            run(database, format!("UPDATE {table} SET {column} = {value} WHERE {key} = {row}"))
                .await
        }
        Change::Renumber { heads, row, to } => {
            let table = table(heads);
            let rows = keys(database, table, "seq").await;
            let row = rows[row % rows.len()];
            // A number that is taken is refused by the table itself.
            row != to
                && run(database, format!("UPDATE {table} SET seq = {to} WHERE seq = {row}")).await
        }
        Change::Delete { heads, row } => {
            let table = table(heads);
            let rows = keys(database, table, "seq").await;
            let row = rows[row % rows.len()];
            run(database, format!("DELETE FROM {table} WHERE seq = {row}")).await
        }
        Change::Swap { row, with } => {
            let rows = keys(database, "audit", "seq").await;
            let (row, with) = (rows[row % rows.len()], rows[with % rows.len()]);
            row != with
                && run(
                    database,
                    format!(
                        "UPDATE audit SET (entry, hash) = (SELECT entry, hash FROM audit AS other \
                         WHERE other.seq = {row} + {with} - audit.seq) WHERE seq IN ({row}, {with})"
                    ),
                )
                .await
        }
        Change::Append { copy_of } => {
            let rows = keys(database, "audit", "seq").await;
            let copied = rows[copy_of % rows.len()];
            let seq = rows[rows.len() - 1] + 1;
            let from = format!("SELECT {seq}, entry, hash FROM audit WHERE seq = {copied}");
            run(database, format!("INSERT INTO audit (seq, entry, hash) {from}")).await
        }
        Change::End { which, add } => {
            let statement = match which {
                0 => format!("UPDATE audit_state SET seq = seq + {add}"),
                1 => format!("UPDATE audit_state SET signed = signed + {add}"),
                2 => format!("UPDATE audit_checkpoint SET seq = seq + {add}"),
                3 => "DELETE FROM audit_checkpoint".to_owned(),
                _ => "DELETE FROM audit_state".to_owned(),
            };
            run(database, statement).await
        }
        Change::Action { column } => {
            let set = ACTIONS[column];
            let newest = "(SELECT max(id) FROM actions)";
            run(database, format!("UPDATE actions SET {set} WHERE id = {newest}")).await
        }
    }
}

const TABLES: [&str; 5] = ["audit", "audit_heads", "audit_state", "audit_checkpoint", "actions"];

/// The columns that can be written, and for rows that are copied back.
fn columns(table: &str) -> &str {
    if table == "audit" { "seq, entry, hash" } else { "*" }
}

#[test]
fn any_single_change_is_found() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for is_pruned in [false, true] {
        let directory = in_file();
        let (center, mut database) = runtime.block_on(async {
            let center = open(directory.path()).await;
            live(&center).await;
            let newest = center.audit_head().await.unwrap();
            if is_pruned {
                let alice = center.local_approver().await.unwrap();
                let now = Timestamp::now();
                assert!(center.prune_audit(now, &alice).await.unwrap().entries > 0);
                assert!(newest.head().seq > 3);
            }
            live(&center).await;
            center.audit_head().await.unwrap();
            live(&center).await;
            verify(&center).await.unwrap();
            let mut database = intruder(directory.path()).await;
            for table in TABLES {
                let copy = format!("CREATE TEMP TABLE {table}_copy AS SELECT * FROM {table}");
                sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut database).await.unwrap();
            }
            (center, database)
        });
        let config = ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() };
        let changed = std::cell::Cell::new(0);
        let database = std::cell::RefCell::new(&mut database);
        TestRunner::new(config)
            .run(&change(), |change| {
                let mut database = database.borrow_mut();
                runtime.block_on(async {
                    if !apply(&mut database, &change).await {
                        return Ok(());
                    }
                    changed.set(changed.get() + 1);
                    let found = verify(&center).await;
                    for table in TABLES {
                        let columns = columns(table);
                        for statement in [
                            format!("DELETE FROM {table}"),
                            format!(
                                "INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_copy"
                            )
                            .replace(" (*)", ""),
                        ] {
                            sqlx::query(sqlx::AssertSqlSafe(statement))
                                .execute(&mut **database)
                                .await
                                .unwrap();
                        }
                    }
                    let found_broken = matches!(found, Err(AuditError::Broken(_)));
                    prop_assert!(found_broken, "{:?} is not found: {:?}", change, found);
                    Ok(())
                })
            })
            .unwrap();
        assert!(changed.get() > 250, "{} changes", changed.get());
        runtime.block_on(verify(&center)).unwrap();
    }
}

#[tokio::test]
async fn the_first_broken_entry_is_named() {
    let directory = in_file();
    let center = open(directory.path()).await;
    live(&center).await;
    center.audit_head().await.unwrap();
    live(&center).await;
    let cases = [
        ("UPDATE audit SET entry = replace(entry, 'alice', 'mallo') WHERE seq = 6", 6, "changed"),
        ("DELETE FROM audit WHERE seq IN (6, 7)", 6, "missing, with all up to entry 7"),
        ("DELETE FROM audit WHERE seq > 12", 12, "the end was cut off"),
        ("DELETE FROM audit_heads WHERE seq = 9", 9, "signed head of entry 9 is missing"),
        (
            "INSERT INTO audit (seq, entry, hash) \
             SELECT 15, replace(entry, '\"seq\":14', '\"seq\":15'), hash FROM audit WHERE seq = 14",
            15,
            "changed",
        ),
        (
            "UPDATE audit SET (entry, hash) = (SELECT entry, hash FROM audit AS o \
             WHERE o.seq = 15 - audit.seq) WHERE seq IN (7, 8)",
            7,
            "written as entry 8: entries were moved",
        ),
        ("UPDATE actions SET state = 'completed' WHERE id = 1", 9, "action 1 stands otherwise"),
        ("UPDATE actions SET parameters = '{}' WHERE id = 2", 14, "what was asked differs"),
        ("DELETE FROM actions WHERE id = 2", 14, "action 2 was recorded, and is not"),
        ("UPDATE actions SET id = 3 WHERE id = 2", 14, "action 3 is in the database"),
    ];
    let mut database = intruder(directory.path()).await;
    for (statement, seq, said) in cases {
        database.execute("BEGIN").await.unwrap();
        database
            .execute("CREATE TEMP TABLE a AS SELECT seq, entry, hash FROM audit")
            .await
            .unwrap();
        database.execute("CREATE TEMP TABLE h AS SELECT * FROM audit_heads").await.unwrap();
        database.execute("CREATE TEMP TABLE c AS SELECT * FROM actions").await.unwrap();
        database.execute(statement).await.unwrap();
        database.execute("COMMIT").await.unwrap();
        let found = broken(verify(&center).await);
        assert!(found.seq == seq && found.to_string().contains(said), "{statement}: {found}");
        for restore in [
            "DELETE FROM audit",
            "INSERT INTO audit (seq, entry, hash) SELECT * FROM a",
            "DELETE FROM audit_heads",
            "INSERT INTO audit_heads SELECT * FROM h",
            "DELETE FROM actions",
            "INSERT INTO actions SELECT * FROM c",
            "DROP TABLE a",
            "DROP TABLE h",
            "DROP TABLE c",
        ] {
            database.execute(restore).await.unwrap();
        }
    }
    verify(&center).await.unwrap();
}
