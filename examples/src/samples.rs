//! The sample databases: what is in them on first start.

/// A sample database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sample {
    /// Customers and what they did: `customers`, `events`.
    Analytics,
    /// Users and orders, the largest of the three.
    Production,
    /// As production, smaller.
    Staging,
    /// As production, smallest.
    Development,
}

impl Sample {
    /// The database's name, also of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Analytics => "analytics",
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }

    /// The statements that make and fill the tables.
    pub(crate) fn script(self) -> String {
        match self {
            Self::Analytics => format!("{}{}", people(60), ANALYTICS),
            Self::Production => format!("{}{}", people(120), SHOP),
            Self::Staging => format!("{}{}", people(40), SHOP),
            Self::Development => format!("{}{}", people(10), SHOP),
        }
    }
}

/// A temporary table of `count` people, the same at every start.
fn people(count: u32) -> String {
    format!(
        "CREATE TEMP TABLE people AS
         WITH RECURSIVE
           given(i, name) AS (VALUES (0, 'Ada'), (1, 'Grace'), (2, 'Alan'), (3, 'Edsger'),
             (4, 'Barbara'), (5, 'Donald'), (6, 'Radia'), (7, 'Leslie'), (8, 'Frances'), (9, 'Tony'),
             (10, 'Katherine')),
           family(i, name) AS (VALUES (0, 'Moreau'), (1, 'Okafor'), (2, 'Tanaka'), (3, 'Silva'),
             (4, 'Novak'), (5, 'Larsen'), (6, 'Haddad')),
           n(id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n WHERE id < {count})
         SELECT id, given.name || ' ' || family.name AS name,
                lower(given.name || '.' || family.name) || id || '@example.com' AS email
         FROM n JOIN given ON given.i = id % 11 JOIN family ON family.i = id % 7;\n"
    )
}

/// Every fourth user has been away since 2024.
const SHOP: &str = "
CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  email TEXT NOT NULL UNIQUE,
  active BOOLEAN NOT NULL,
  created_at TEXT NOT NULL,
  last_login TEXT NOT NULL
);
CREATE INDEX users_by_last_login ON users (last_login);
INSERT INTO users
  SELECT id, name, email, id % 4 <> 0,
         date('2023-01-05', '+' || (id * 3) || ' days'),
         CASE WHEN id % 4 = 0 THEN date('2024-12-20', '-' || id || ' days')
              ELSE date('2026-03-30', '-' || (id % 60) || ' days') END
  FROM people;
CREATE TABLE orders (
  id INTEGER PRIMARY KEY,
  user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  total_cents INTEGER NOT NULL CHECK (total_cents > 0),
  status TEXT NOT NULL CHECK (status IN ('paid', 'shipped', 'refunded')),
  ordered_at TEXT NOT NULL
);
CREATE INDEX orders_by_user ON orders (user_id);
INSERT INTO orders (user_id, total_cents, status, ordered_at)
  WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3)
  SELECT id, 990 + (id * 131 + i * 977) % 20000,
         CASE (id + i) % 5 WHEN 0 THEN 'refunded' WHEN 1 THEN 'paid' ELSE 'shipped' END,
         date('2025-06-01', '+' || ((id * 7 + i * 31) % 300) || ' days')
  FROM people JOIN n ON id % 3 >= i - 1;
";

const ANALYTICS: &str = "
CREATE TABLE customers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  email TEXT NOT NULL UNIQUE,
  plan TEXT NOT NULL CHECK (plan IN ('free', 'team', 'enterprise')),
  country TEXT NOT NULL,
  signed_up TEXT NOT NULL
);
INSERT INTO customers
  WITH country(i, code) AS (VALUES (0, 'DE'), (1, 'JP'), (2, 'NG'), (3, 'BR'), (4, 'US'), (5, 'FR'))
  SELECT id, name, email,
         CASE WHEN id % 9 = 0 THEN 'enterprise' WHEN id % 3 = 0 THEN 'team' ELSE 'free' END,
         code, date('2024-02-01', '+' || (id * 11) || ' days')
  FROM people JOIN country ON country.i = id % 6;
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  kind TEXT NOT NULL,
  page TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  occurred_at TEXT NOT NULL
);
CREATE INDEX events_by_kind ON events (kind, occurred_at);
INSERT INTO events (customer_id, kind, page, duration_ms, occurred_at)
  WITH RECURSIVE
    n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 2399),
    kind(k, kind) AS (VALUES (0, 'page_view'), (1, 'page_view'), (2, 'page_view'), (3, 'click'),
      (4, 'click'), (5, 'search'), (6, 'signup'), (7, 'purchase')),
    page(p, page) AS (VALUES (0, '/'), (1, '/pricing'), (2, '/docs'), (3, '/blog'), (4, '/account'))
  SELECT 1 + (i * 7) % 60, kind, page, 40 + (i * 389) % 5000,
         strftime('%Y-%m-%dT%H:%M:%SZ', '2026-01-01', '+' || (i * 53) || ' minutes')
  FROM n JOIN kind ON k = (i * 5 + i / 8) % 8 JOIN page ON p = (i * 3 + i / 5) % 5;
";
