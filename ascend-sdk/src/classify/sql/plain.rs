//! Which parts of a query are known to only read.
//!
//! Everything is named field by field and variant by variant: what a newer
//! parser adds is not plain until somebody has looked at it.

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArguments,
    ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor, UnaryOperator,
};

use super::{Dialect, functions};

/// What keeps a query from being a plain read.
pub(super) fn query_objection(query: &Query) -> Option<&'static str> {
    let Query {
        with: _,
        body,
        order_by: _,
        limit_clause: _,
        fetch: _,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    if !locks.is_empty() {
        return Some("a query with `FOR UPDATE` or `FOR SHARE` locks rows");
    }
    if for_clause.is_some() || settings.is_some() || format_clause.is_some() {
        return Some("the query has a clause of another database");
    }
    if !pipe_operators.is_empty() {
        return Some("the query has pipe operators");
    }
    body_objection(body)
}

fn body_objection(mut body: &SetExpr) -> Option<&'static str> {
    loop {
        match body {
            // The visitor comes to these by themselves.
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => return None,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                return None;
            }
            SetExpr::Table(_) => return Some("`TABLE name` does not say what it reads"),
            SetExpr::SetOperation { left, op: _, set_quantifier: _, right } => {
                if let Some(objection) = body_objection(right) {
                    return Some(objection);
                }
                body = left;
            }
        }
    }
}

/// What keeps a `SELECT` from being a plain read.
pub(super) fn select_objection(dialect: Dialect, select: &Select) -> Option<&'static str> {
    let Select {
        select_token: _,
        optimizer_hints,
        distinct: _,
        select_modifiers,
        top: _,
        top_before_distinct: _,
        projection,
        exclude: _,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by: _,
        group_by: _,
        cluster_by: _,
        distribute_by: _,
        sort_by: _,
        having: _,
        named_window: _,
        qualify: _,
        window_before_qualify: _,
        value_table_mode: _,
        flavor: _,
    } = select;
    if into.is_some() {
        return Some("`SELECT … INTO` makes a table or a file");
    }
    if !optimizer_hints.is_empty() || select_modifiers.is_some() {
        return Some("the query has hints for the optimizer");
    }
    if let Some(objection) = items_objection(dialect, projection) {
        return Some(objection);
    }
    if !lateral_views.is_empty() || prewhere.is_some() {
        return Some("the query has a clause of another database");
    }
    None
}

/// What keeps the items of a `SELECT` or a `RETURNING` from being plain, their
/// expressions aside.
pub(super) fn items_objection(dialect: Dialect, items: &[SelectItem]) -> Option<&'static str> {
    // In PostgreSQL, `SELECT name 'text'` is a value of the type `name`, not an alias.
    let has_typed_text = items.iter().any(|item| {
        matches!(item, SelectItem::ExprWithAlias { alias, .. } if alias.quote_style == Some('\''))
    });
    (dialect == Dialect::Postgres && has_typed_text)
        .then_some("the query has a value of a type that is not known")
}

/// What keeps a table in a `FROM` from being a plain read.
pub(super) fn table_objection(dialect: Dialect, table: &TableFactor) -> Option<String> {
    let a_function = |name: &ObjectName| match function_name(name) {
        Some(name) if functions::is_harmless_table(dialect, &name) => None,
        _ => Some(unknown_function(name)),
    };
    match table {
        TableFactor::Table {
            name,
            alias: _,
            args,
            with_hints,
            version: _,
            with_ordinality: _,
            partitions: _,
            json_path,
            sample: _,
            index_hints: _,
        } => {
            if args.is_some() {
                return a_function(name);
            }
            let parts = name.0.len();
            let last = last_part(name).unwrap_or_default();
            if parts > 3 || name.0.iter().any(|part| part.as_ident().is_none()) {
                return Some(format!("`{name}` may lie on another server"));
            }
            if !with_hints.is_empty() || json_path.is_some() {
                return Some(format!("`{name}` is read with hints"));
            }
            let is_pragma = last
                .strip_prefix("pragma_")
                .is_some_and(|pragma| !functions::is_reading_bare_pragma(pragma));
            if dialect == Dialect::Sqlite && (is_pragma || functions::is_file_table(&last)) {
                return Some(format!("`{name}` is not a table of the database"));
            }
            None
        }
        TableFactor::Function { lateral: _, name, args: _, with_ordinality: _, alias: _ } => {
            a_function(name)
        }
        // Their parts are visited by themselves.
        TableFactor::Derived { .. }
        | TableFactor::NestedJoin { .. }
        | TableFactor::UNNEST { .. }
        | TableFactor::JsonTable { .. }
        | TableFactor::OpenJsonTable { .. }
        | TableFactor::Pivot { .. }
        | TableFactor::Unpivot { .. } => None,
        _ => Some("the query reads from something that is not a table".to_owned()),
    }
}

/// What keeps an expression from being a plain computation, its parts aside.
pub(super) fn expression_objection(dialect: Dialect, expression: &Expr) -> Option<String> {
    match expression {
        Expr::Function(function) => function_objection(dialect, function),
        Expr::BinaryOp { op, .. }
        | Expr::AnyOp { compare_op: op, .. }
        | Expr::AllOp { compare_op: op, .. } => {
            (!is_plain_operator(dialect, op)).then(|| format!("the operator `{op}` is not known"))
        }
        Expr::UnaryOp { op, .. } => {
            use UnaryOperator as U;
            let plain = matches!(op, U::Plus | U::Minus | U::Not | U::BitwiseNot | U::BangNot);
            (!plain).then(|| format!("the operator `{op}` is not known"))
        }
        Expr::Cast { data_type, .. } => type_objection(data_type),
        Expr::Convert { data_type, .. } => data_type.as_ref().and_then(type_objection),
        Expr::TypedString(typed) => type_objection(&typed.data_type),
        Expr::Collate { collation, .. } => {
            (collation.0.len() > 1).then(|| format!("the collation `{collation}` is not known"))
        }
        Expr::Prefixed { prefix, .. } => {
            let plain = prefix.value.starts_with('_') || prefix.value.eq_ignore_ascii_case("n");
            (!plain).then(|| format!("the prefix `{prefix}` is not known"))
        }
        // PostgreSQL calls a function of one argument by `x.name`, where `x` has no such
        // column.
        Expr::CompoundIdentifier(parts)
            if parts.last().is_some_and(|part| functions::is_of_a_server(&part.value)) =>
        {
            Some("the name of a function with effects stands where a column may".to_owned())
        }
        Expr::CompoundFieldAccess { access_chain, .. }
            if dialect == Dialect::Postgres
                && access_chain.iter().any(|access| matches!(access, AccessExpr::Dot(_))) =>
        {
            Some("`(…).name` may be a call of a function".to_owned())
        }
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::CompoundFieldAccess { .. }
        | Expr::JsonAccess { .. }
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::IsJson { .. }
        | Expr::IsNormalized { .. }
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::InUnnest { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::SimilarTo { .. }
        | Expr::RLike { .. }
        | Expr::AtTimeZone { .. }
        | Expr::Extract { .. }
        | Expr::Ceil { .. }
        | Expr::Floor { .. }
        | Expr::Position { .. }
        | Expr::Substring { .. }
        | Expr::Trim { .. }
        | Expr::Overlay { .. }
        | Expr::Nested(_)
        | Expr::Value(_)
        | Expr::Case { .. }
        | Expr::Exists { .. }
        | Expr::Subquery(_)
        | Expr::GroupingSets(_)
        | Expr::Cube(_)
        | Expr::Rollup(_)
        | Expr::Tuple(_)
        | Expr::Array(_)
        | Expr::Interval(_)
        | Expr::MatchAgainst { .. }
        | Expr::Wildcard(_)
        | Expr::QualifiedWildcard(..)
        | Expr::MemberOf(_) => None,
        _ => Some("the text has an expression of another database".to_owned()),
    }
}

pub(super) fn function_objection(dialect: Dialect, function: &Function) -> Option<String> {
    let Function {
        name,
        uses_odbc_syntax,
        parameters,
        args: _,
        within_group: _,
        filter: _,
        null_treatment: _,
        over: _,
    } = function;
    let known = function_name(name).is_some_and(|name| functions::is_harmless(dialect, &name));
    let plain = known && !uses_odbc_syntax && matches!(parameters, FunctionArguments::None);
    (!plain).then(|| unknown_function(name))
}

fn unknown_function(name: &ObjectName) -> String {
    format!("the function `{name}` is not on the list of those that only read")
}

/// The lower-case name of a function that is written bare: a schema or quotes
/// may lead to another one of the same name.
fn function_name(name: &ObjectName) -> Option<String> {
    let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return None };
    ident.quote_style.is_none().then(|| ident.value.to_ascii_lowercase())
}

/// The last part of a name, lower case.
pub(super) fn last_part(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.to_lowercase())
}

fn type_objection(data_type: &DataType) -> Option<String> {
    // The types of users have input functions of users.
    (!is_plain_type(data_type)).then(|| format!("the type `{data_type}` is not known"))
}

fn is_plain_type(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Array(
            ArrayElemTypeDef::SquareBracket(of, _)
            | ArrayElemTypeDef::Qualified(of, _)
            | ArrayElemTypeDef::AngleBracket(of)
            | ArrayElemTypeDef::Parenthesis(of),
        ) => is_plain_type(of),
        T::Character(_)
        | T::Char(_)
        | T::CharacterVarying(_)
        | T::CharVarying(_)
        | T::Varchar(_)
        | T::Nvarchar(_)
        | T::Uuid
        | T::Binary(_)
        | T::Varbinary(_)
        | T::Blob(_)
        | T::Numeric(_)
        | T::Decimal(_)
        | T::Dec(_)
        | T::Float(_)
        | T::TinyInt(_)
        | T::SmallInt(_)
        | T::MediumInt(_)
        | T::Int(_)
        | T::Int2(_)
        | T::Int4(_)
        | T::Int8(_)
        | T::Integer(_)
        | T::BigInt(_)
        | T::Signed
        | T::SignedInteger
        | T::Unsigned
        | T::UnsignedInteger
        | T::Real
        | T::Float4
        | T::Float8
        | T::Double(_)
        | T::DoublePrecision
        | T::Bool
        | T::Boolean
        | T::Date
        | T::Time(..)
        | T::Datetime(_)
        | T::Timestamp(..)
        | T::Interval { .. }
        | T::JSON
        | T::JSONB
        | T::Regclass
        | T::Text
        | T::Bytea
        | T::Bit(_)
        | T::BitVarying(_)
        | T::VarBit(_)
        | T::TsVector
        | T::TsQuery => true,
        _ => false,
    }
}

fn is_plain_operator(dialect: Dialect, operator: &BinaryOperator) -> bool {
    use BinaryOperator as B;
    match operator {
        B::Plus
        | B::Minus
        | B::Multiply
        | B::Divide
        | B::Modulo
        | B::StringConcat
        | B::Gt
        | B::Lt
        | B::GtEq
        | B::LtEq
        | B::Spaceship
        | B::Eq
        | B::NotEq
        | B::And
        | B::Or
        | B::Xor
        | B::BitwiseOr
        | B::BitwiseAnd
        | B::BitwiseXor
        | B::PGBitwiseShiftLeft
        | B::PGBitwiseShiftRight
        | B::MyIntegerDivide
        | B::Arrow
        | B::LongArrow => true,
        // `MATCH` and `REGEXP` call what the application defined; on SQLite
        // `MATCH` is full-text search.
        B::Match | B::Glob => dialect == Dialect::Sqlite,
        B::Regexp => matches!(dialect, Dialect::Sqlite | Dialect::MySql),
        B::PGBitwiseXor
        | B::PGExp
        | B::PGOverlap
        | B::PGRegexMatch
        | B::PGRegexIMatch
        | B::PGRegexNotMatch
        | B::PGRegexNotIMatch
        | B::PGLikeMatch
        | B::PGILikeMatch
        | B::PGNotLikeMatch
        | B::PGNotILikeMatch
        | B::PGStartsWith
        | B::HashArrow
        | B::HashLongArrow
        | B::AtAt
        | B::AtArrow
        | B::ArrowAt
        | B::HashMinus
        | B::AtQuestion
        | B::Question
        | B::QuestionAnd
        | B::QuestionPipe
        | B::Overlaps => dialect == Dialect::Postgres,
        _ => false,
    }
}
