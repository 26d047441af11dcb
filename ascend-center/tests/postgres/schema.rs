//! Both databases have the same schema.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Connection, PgConnection, Row, SqliteConnection};

use crate::support::{open, postgres};

/// Of a column: its type, whether it can be null, whether it has a default.
type Columns = BTreeMap<(String, String), (String, bool, bool)>;
/// Of an index that has a name: its table, whether it is unique, its columns.
type Indexes = BTreeMap<String, (String, bool, Vec<String>)>;

async fn of_sqlite(file: &std::path::Path) -> (Columns, Indexes) {
    let mut database =
        SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let columns = sqlx::query(
        "SELECT t.name, c.name, c.type, c.\"notnull\" OR c.pk > 0, c.dflt_value IS NOT NULL \
         FROM pragma_table_list t, pragma_table_xinfo(t.name) c \
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name NOT LIKE '_sqlx_%'",
    );
    let columns = columns.fetch_all(&mut database).await.unwrap();
    let columns = columns.iter().map(|row| {
        let kind = match row.get::<&str, _>(2) {
            "INTEGER" => "bigint",
            "TEXT" => "text",
            "BLOB" => "bytea",
            other => panic!("a column of the type {other}"),
        };
        ((row.get(0), row.get(1)), (kind.to_owned(), row.get(3), row.get(4)))
    });
    let columns = columns.collect();
    let indexes = sqlx::query(
        "SELECT i.name, t.name, i.\"unique\", c.name FROM pragma_table_list t, \
         pragma_index_list(t.name) i, pragma_index_info(i.name) c \
         WHERE i.origin = 'c' ORDER BY i.name, c.seqno",
    );
    let indexes = indexes.fetch_all(&mut database).await.unwrap();
    let mut named = Indexes::new();
    for row in indexes {
        let index = named.entry(row.get(0)).or_insert((row.get(1), row.get(2), Vec::new()));
        index.2.push(row.get(3));
    }
    (columns, named)
}

async fn of_postgresql(url: &str) -> (Columns, Indexes) {
    let mut database = PgConnection::connect(url).await.unwrap();
    let columns = sqlx::query(
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'NO', \
         column_default IS NOT NULL FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx\\_%'",
    );
    let columns = columns.fetch_all(&mut database).await.unwrap();
    let columns = columns
        .iter()
        .map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3), row.get(4))))
        .collect();
    let indexes = sqlx::query(
        "SELECT i.relname::text, t.relname::text, x.indisunique, a.attname::text \
         FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid \
         JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_attribute a ON a.attrelid = i.oid \
         WHERE n.nspname = 'public' AND t.relname NOT LIKE '\\_sqlx\\_%' AND NOT EXISTS \
         (SELECT 1 FROM pg_constraint WHERE conindid = i.oid AND contype IN ('p', 'u')) \
         ORDER BY i.relname, a.attnum",
    );
    let indexes = indexes.fetch_all(&mut database).await.unwrap();
    let mut named = Indexes::new();
    for row in indexes {
        let index = named.entry(row.get(0)).or_insert((row.get(1), row.get(2), Vec::new()));
        index.2.push(row.get(3));
    }
    (columns, named)
}

#[tokio::test]
async fn both_databases_have_the_same_schema() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [sqlite, postgresql] = directories.each_ref().map(|directory| directory.path());
    postgres::choose(postgresql);
    open(postgresql).await.close().await;
    ascend_center::Center::open(ascend_center::CenterConfig::new(sqlite))
        .await
        .unwrap()
        .close()
        .await;
    let (columns, mut indexes) = of_sqlite(&sqlite.join("center.db")).await;
    let (their_columns, mut their_indexes) =
        of_postgresql(&postgres::of(postgresql).unwrap()).await;
    assert!(columns.len() > 100, "{columns:?}");
    assert_eq!(difference(&columns, &their_columns), BTreeSet::new());
    // Of long texts only a hash can be indexed there.
    let on_resource = |indexes: &mut Indexes| indexes.remove("counted_on_resource").unwrap();
    assert_eq!(on_resource(&mut indexes).2, ["resource", "created_at"]);
    assert_eq!(on_resource(&mut their_indexes).2, ["resource"]);
    assert!(indexes.len() > 10, "{indexes:?}");
    assert_eq!(difference(&indexes, &their_indexes), BTreeSet::new());
}

/// What only one of them has.
fn difference<K: std::fmt::Debug, V: std::fmt::Debug>(
    one: &BTreeMap<K, V>,
    other: &BTreeMap<K, V>,
) -> BTreeSet<String> {
    let lines = |of: &BTreeMap<K, V>| -> BTreeSet<String> {
        of.iter().map(|entry| format!("{entry:?}")).collect()
    };
    lines(one).symmetric_difference(&lines(other)).cloned().collect()
}
