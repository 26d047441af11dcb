//! The walk over a parsed text.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    ops::ControlFlow,
};

use sqlparser::ast::{
    BinaryOperator, Delete, Expr, Ident, Insert, MergeAction, ObjectName, OnConflictAction,
    OnInsert, Query, Select, SelectItem, SqliteOnConflict, Statement, TableFactor, TableObject,
    Visit, Visitor,
};
use sqlparser::tokenizer::{Token, Word};

use super::{Dialect, Effect, functions, plain};

/// What the statements of a text do, at the worst.
pub(super) struct Survey {
    dialect: Dialect,
    pub(super) effect: Effect,
    pub(super) kinds: BTreeSet<String>,
    pub(super) tables: BTreeSet<String>,
    pub(super) unbounded: bool,
    pub(super) why: Option<String>,
    /// Whether the text is nothing but words, without a condition.
    pub(super) shows_names: bool,
}

impl Survey {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            effect: Effect::Read,
            kinds: BTreeSet::new(),
            tables: BTreeSet::new(),
            unbounded: false,
            why: None,
            shows_names: false,
        }
    }

    /// Makes it `execute`; the first reason is kept.
    pub(super) fn object(&mut self, why: impl Into<String>) {
        self.effect = Effect::Execute;
        self.why.get_or_insert_with(|| why.into());
    }

    fn object_if(&mut self, why: Option<impl Into<String>>) {
        if let Some(why) = why {
            self.object(why);
        }
    }

    fn raise(&mut self, effect: Effect) {
        self.effect = self.effect.max(effect);
    }

    /// Notes a table in the form in which names compare equal: lower case,
    /// without quotes, and a qualified one also by its last part.
    fn table(&mut self, name: &ObjectName) {
        let parts: Vec<String> = name
            .0
            .iter()
            .map(|part| {
                part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone())
            })
            .map(|part| part.to_lowercase())
            .collect();
        self.tables.extend(parts.last().cloned());
        self.tables.insert(parts.join("."));
    }

    fn statement(&mut self, statement: &Statement) {
        let kind = kind(statement);
        let dialect = self.dialect;
        let shows = matches!(dialect, Dialect::MySql | Dialect::Postgres);
        match statement {
            // Their parts are visited by themselves.
            Statement::Query(_) | Statement::Explain { .. } => {}
            Statement::ExplainTable { .. } if dialect == Dialect::MySql => {}
            Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowDatabases { .. }
            | Statement::ShowVariables { .. }
            | Statement::ShowStatus { .. }
            | Statement::ShowCollation { .. }
            | Statement::ShowCreate { .. }
                if shows => {}
            // What `SHOW` the parser does not know, it passes over to the end.
            Statement::ShowVariable { .. } if shows && self.shows_names => {}
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => {
                self.raise(Effect::Write);
                self.bound(update.selection.as_ref());
                self.returning(update.returning.as_deref());
                if let Some(SqliteOnConflict::Replace) = update.or {
                    self.kinds.insert("replace".to_owned());
                }
                if update.output.is_some() || !update.optimizer_hints.is_empty() {
                    self.object("the `UPDATE` has an `OUTPUT` clause or hints");
                }
            }
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => {
                self.raise(Effect::Write);
                for clause in &merge.clauses {
                    let kind = match &clause.action {
                        MergeAction::Insert(_) => "insert",
                        MergeAction::Update(_) => "update",
                        MergeAction::Delete { .. } => {
                            self.raise(Effect::Delete);
                            "delete"
                        }
                        MergeAction::DoNothing { .. } => "do",
                    };
                    self.kinds.insert(kind.to_owned());
                }
                if merge.output.is_some() || !merge.optimizer_hints.is_empty() {
                    self.object("the `MERGE` has an `OUTPUT` clause or hints");
                }
            }
            Statement::Truncate(_) => self.raise(Effect::Delete),
            Statement::Drop { names, table, .. } => {
                self.raise(Effect::Delete);
                names.iter().chain(table).for_each(|name| self.table(name));
            }
            _ if kind == "drop" => self.raise(Effect::Delete),
            _ => self.object(format!("`{}` can do anything", kind.to_uppercase())),
        }
        self.kinds.insert(kind);
    }

    /// SQLite's `PRAGMA [schema.]name`, `… = value` or `…(value)`, whose bare
    /// values the parser does not take.
    pub(super) fn pragma(&mut self, tokens: &[Token]) {
        self.kinds.insert("pragma".to_owned());
        let words: Vec<&Token> =
            tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).skip(1).collect();
        let words = match words.as_slice() {
            [words @ .., Token::SemiColon] => words,
            words => words,
        };
        let words = match words {
            [Token::Word(_), Token::Period, rest @ ..] => rest,
            rest => rest,
        };
        let reads = match words {
            [Token::Word(name)] => {
                functions::is_reading_bare_pragma(&name.value.to_ascii_lowercase())
            }
            [Token::Word(name), Token::LParen, value, Token::RParen] => {
                if let Token::Word(Word { value, .. })
                | Token::SingleQuotedString(value)
                | Token::DoubleQuotedString(value) = value
                {
                    self.tables.insert(value.to_lowercase());
                }
                functions::is_reading_pragma(&name.value.to_ascii_lowercase())
            }
            _ => false,
        };
        if !reads {
            self.object("the `PRAGMA` can change settings or data");
        }
    }

    fn returning(&mut self, items: Option<&[SelectItem]>) {
        if let Some(items) = items {
            self.object_if(plain::items_objection(self.dialect, items));
        }
    }

    fn insert(&mut self, insert: &Insert) {
        self.raise(Effect::Write);
        self.returning(insert.returning.as_deref());
        if insert.replace_into || matches!(insert.or, Some(SqliteOnConflict::Replace)) {
            self.kinds.insert("replace".to_owned());
        }
        if insert.replace_into {
            self.kinds.insert("insert".to_owned());
        }
        match &insert.on {
            Some(OnInsert::DuplicateKeyUpdate(_)) => {
                self.kinds.insert("update".to_owned());
            }
            Some(OnInsert::OnConflict(conflict)) => {
                if let OnConflictAction::DoUpdate(_) = conflict.action {
                    self.kinds.insert("update".to_owned());
                }
            }
            _ => {}
        }
        let unusual = insert.overwrite
            || insert.partitioned.is_some()
            || insert.output.is_some()
            || insert.settings.is_some()
            || insert.format_clause.is_some()
            || insert.multi_table_insert_type.is_some()
            || !insert.multi_table_into_clauses.is_empty()
            || !insert.multi_table_when_clauses.is_empty()
            || insert.multi_table_else_clause.is_some()
            || !insert.optimizer_hints.is_empty();
        if unusual || !matches!(insert.table, TableObject::TableName(_)) {
            self.object("the `INSERT` does more than add rows to one table");
        }
    }

    fn delete(&mut self, delete: &Delete) {
        self.raise(Effect::Delete);
        self.bound(delete.selection.as_ref());
        self.returning(delete.returning.as_deref());
        delete.tables.iter().for_each(|name| self.table(name));
        if delete.output.is_some() || !delete.optimizer_hints.is_empty() {
            self.object("the `DELETE` has an `OUTPUT` clause or hints");
        }
    }

    /// A condition that names no column, such as `1 = 1`, bounds nothing.
    fn bound(&mut self, condition: Option<&Expr>) {
        self.unbounded |= !condition.is_some_and(bounds);
    }
}

/// Whether it can be false for some rows and true for others, as far as is easily seen.
fn bounds(condition: &Expr) -> bool {
    use BinaryOperator::{And, Eq, GtEq, LtEq, Or};
    match condition {
        Expr::Nested(inner) => bounds(inner),
        Expr::BinaryOp { left, op: And, right } => bounds(left) || bounds(right),
        Expr::BinaryOp { left, op: Or, right } => bounds(left) && bounds(right),
        Expr::BinaryOp { left, op: Eq | GtEq | LtEq, right } if left == right => false,
        other => other.visit(&mut NamesColumn).is_break(),
    }
}

impl Visitor for Survey {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.statement(statement);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.kinds.insert("select".to_owned());
        self.object_if(plain::query_objection(query));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.object_if(plain::select_objection(self.dialect, select));
        if let Some(into) = &select.into {
            self.kinds.insert("into".to_owned());
            for target in &into.targets {
                match target {
                    Expr::Identifier(name) => self.table(&ObjectName::from(vec![name.clone()])),
                    Expr::CompoundIdentifier(name) => self.table(&ObjectName::from(name.clone())),
                    _ => {}
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.table(relation);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        self.object_if(plain::table_objection(self.dialect, table));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        self.object_if(plain::expression_objection(self.dialect, expression));
        ControlFlow::Continue(())
    }
}

/// Stops at the first column.
struct NamesColumn;

impl Visitor for NamesColumn {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            // SQLite takes `"x"` for a string where there is no such column; `@x` is a
            // variable.
            Expr::Identifier(Ident { quote_style, value, .. })
                if *quote_style != Some('"') && !value.starts_with('@') =>
            {
                ControlFlow::Break(())
            }
            Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The kind of a statement: the word that it starts with, lower case.
fn kind(statement: &Statement) -> String {
    match statement {
        Statement::Query(_) => return "select".to_owned(),
        Statement::Insert(_) => return "insert".to_owned(),
        Statement::ExplainTable { .. } => return "describe".to_owned(),
        _ => {}
    }
    let mut first = FirstWord::default();
    // The error is how it stops.
    let _ = write!(first, "{statement}");
    first.word
}

/// Keeps the first word, and stops the writer after it.
#[derive(Default)]
struct FirstWord {
    word: String,
}

impl fmt::Write for FirstWord {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_ascii_alphabetic() || character == '_' {
                self.word.push(character.to_ascii_lowercase());
            } else if !self.word.is_empty() {
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}
