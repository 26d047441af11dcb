//! Functions that only compute or read.

use super::Dialect;

/// Whether the function, by its lower-case name, has no effect in `dialect`
/// and reads nothing but its arguments and the database.
pub(super) fn is_harmless(dialect: Dialect, name: &str) -> bool {
    COMMON.contains(&name)
        || match dialect {
            Dialect::Any => false,
            Dialect::Sqlite => SQLITE.contains(&name),
            Dialect::Postgres => POSTGRES.contains(&name),
            Dialect::MySql => MYSQL.contains(&name),
            Dialect::MsSql => MSSQL.contains(&name),
        }
}

/// Whether the function makes a table and is as harmless.
pub(super) fn is_harmless_table(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::Any | Dialect::MySql => false,
        Dialect::Sqlite => {
            matches!(name, "json_each" | "json_tree" | "generate_series")
                || name.strip_prefix("pragma_").is_some_and(is_reading_pragma)
        }
        Dialect::Postgres => matches!(
            name,
            "generate_series"
                | "generate_subscripts"
                | "unnest"
                | "json_array_elements"
                | "json_array_elements_text"
                | "json_each"
                | "json_each_text"
                | "json_object_keys"
                | "jsonb_array_elements"
                | "jsonb_array_elements_text"
                | "jsonb_each"
                | "jsonb_each_text"
                | "jsonb_object_keys"
                | "regexp_matches"
                | "regexp_split_to_table"
                | "string_to_table"
        ),
        Dialect::MsSql => matches!(name, "string_split" | "openjson" | "generate_series"),
    }
}

/// Whether the pragma of SQLite reads, also when it is given a value.
pub(super) fn is_reading_pragma(name: &str) -> bool {
    matches!(
        name,
        "table_info" | "table_xinfo" | "table_list" | "index_list" | "index_info" | "index_xinfo"
            | "foreign_key_list" | "foreign_key_check"
    )
}

/// Whether the pragma of SQLite reads when it is given no value.
pub(super) fn is_reading_bare_pragma(name: &str) -> bool {
    is_reading_pragma(name)
        || matches!(
            name,
            "database_list" | "collation_list" | "function_list" | "module_list" | "pragma_list"
                | "compile_options" | "user_version" | "schema_version" | "application_id"
                | "page_count" | "page_size" | "freelist_count" | "encoding" | "foreign_keys"
        )
}

/// Virtual tables of SQLite that read files instead of the database.
pub(super) fn is_file_table(name: &str) -> bool {
    matches!(name, "fsdir" | "zipfile" | "csv" | "sqlite_dbpage" | "sqlite_dbdata" | "sqlite_dbptr")
}

const COMMON: &[&str] = &[
    "abs", "acos", "asin", "atan", "atan2", "avg", "cast", "ceil", "ceiling", "char_length",
    "character_length", "coalesce", "concat", "concat_ws", "cos", "cot", "count", "cume_dist",
    "current_date", "current_time", "current_timestamp", "date", "degrees", "dense_rank", "exp",
    "first_value", "floor", "grouping", "lag", "last_value", "lead", "left", "length", "ln", "log",
    "log10", "lower", "ltrim", "max", "min", "mod", "nth_value", "ntile", "nullif",
    "octet_length", "percent_rank", "pi", "pow", "power", "radians", "rank", "replace",
    "reverse", "right", "round", "row_number", "rtrim", "sign", "sin", "sqrt", "stddev",
    "stddev_pop", "stddev_samp", "substr", "substring", "sum", "tan", "trim", "upper", "var_pop",
    "var_samp", "variance",
];

const SQLITE: &[&str] = &[
    "acosh", "asinh", "atanh", "bm25", "changes", "char", "concat", "cosh", "datetime", "format",
    "glob", "group_concat", "hex", "highlight", "ifnull", "if", "iif", "instr", "json",
    "json_array", "json_array_length", "json_error_position", "json_extract", "json_group_array",
    "json_group_object", "json_insert", "json_object", "json_patch", "json_pretty", "json_quote",
    "json_remove", "json_replace", "json_set", "json_type", "json_valid", "jsonb",
    "jsonb_extract", "julianday", "last_insert_rowid", "like", "likelihood", "likely", "log2",
    "median", "percentile", "printf", "quote", "random", "sinh", "snippet", "soundex",
    "sqlite_version", "strftime", "string_agg", "tanh", "time", "timediff", "total",
    "total_changes", "trunc", "typeof", "unhex", "unicode", "unixepoch", "unlikely",
];

const POSTGRES: &[&str] = &[
    "age", "array_agg", "array_append", "array_cat", "array_dims", "array_length", "array_lower",
    "array_ndims", "array_position", "array_positions", "array_prepend", "array_remove",
    "array_replace", "array_to_json", "array_to_string", "array_upper", "ascii", "bit_and",
    "bit_length", "bit_or", "bool_and", "bool_or", "btrim", "cardinality", "cbrt", "chr",
    "clock_timestamp", "corr", "covar_pop", "covar_samp", "current_catalog", "current_database",
    "current_schema", "current_user", "date_bin", "date_part", "date_trunc", "decode", "div",
    "encode", "every", "factorial", "format", "gcd", "generate_series", "greatest", "initcap",
    "isfinite", "json_agg", "json_array_length", "json_build_array", "json_build_object",
    "json_extract_path", "json_extract_path_text", "json_object_agg", "json_typeof", "jsonb_agg",
    "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_extract_path",
    "jsonb_extract_path_text", "jsonb_object_agg", "jsonb_path_exists", "jsonb_path_query",
    "jsonb_pretty", "jsonb_set", "jsonb_strip_nulls", "jsonb_typeof", "justify_days",
    "justify_hours", "justify_interval", "lcm", "least", "localtime", "localtimestamp", "lpad",
    "make_date", "make_interval", "make_time", "make_timestamp", "md5", "mode", "now",
    "overlay", "percentile_cont", "percentile_disc", "pg_typeof", "position", "quote_ident",
    "quote_literal", "random", "regexp_match", "regexp_matches", "regexp_replace",
    "regexp_split_to_array", "regr_slope", "repeat", "row_to_json", "rpad", "session_user",
    "split_part", "starts_with", "statement_timestamp", "string_agg", "string_to_array", "strpos",
    "timeofday", "to_char", "to_date", "to_hex", "to_json", "to_jsonb", "to_number",
    "to_timestamp", "to_tsquery", "to_tsvector", "plainto_tsquery", "websearch_to_tsquery",
    "transaction_timestamp", "translate", "trunc", "ts_headline", "ts_rank", "unnest", "version",
    "width_bucket",
];

const MYSQL: &[&str] = &[
    "adddate", "addtime", "any_value", "ascii", "bin", "bit_and", "bit_count", "bit_length",
    "bit_or", "bit_xor", "char", "conv", "convert_tz", "crc32", "curdate", "current_user",
    "curtime", "database", "date_add", "date_format", "date_sub", "datediff", "day", "dayname",
    "dayofmonth", "dayofweek", "dayofyear", "elt", "extract", "field", "find_in_set", "format",
    "from_days", "from_unixtime", "greatest", "group_concat", "hex", "hour", "if", "ifnull",
    "inet_aton", "inet_ntoa", "insert", "instr", "isnull", "json_array", "json_arrayagg",
    "json_contains", "json_contains_path", "json_depth", "json_extract", "json_keys",
    "json_length", "json_object", "json_objectagg", "json_search", "json_type", "json_unquote",
    "json_valid", "last_day", "lcase", "least", "locate", "log2", "lpad", "md5", "microsecond",
    "mid", "minute", "month", "monthname", "now", "oct", "ord", "period_diff", "position",
    "quarter", "quote", "rand", "regexp_like", "regexp_replace", "regexp_substr", "repeat", "rpad",
    "schema", "second", "sha1", "sha2", "soundex", "space", "std", "str_to_date", "strcmp",
    "subdate", "substring_index", "subtime", "sysdate", "time", "time_format", "time_to_sec",
    "timediff", "timestamp", "timestampadd", "timestampdiff", "to_days", "truncate", "ucase",
    "unhex", "unix_timestamp", "user", "utc_date", "utc_timestamp", "version", "week", "weekday",
    "year",
];

const MSSQL: &[&str] = &[
    "ascii", "char", "charindex", "checksum_agg", "choose", "count_big", "datalength", "dateadd",
    "datediff", "datediff_big", "datefromparts", "datename", "datepart", "datetrunc", "day",
    "db_name", "difference", "eomonth", "format", "getdate", "getutcdate", "greatest", "iif",
    "isdate", "isjson", "isnull", "isnumeric", "json_query", "json_value", "least", "len", "log",
    "month", "nchar", "object_id", "object_name", "patindex", "quotename", "rand", "replicate",
    "soundex", "space", "square", "stdev", "stdevp", "str", "string_agg", "string_escape",
    "stuff", "sysdatetime", "sysutcdatetime", "translate", "try_cast", "try_convert", "unicode",
    "var", "varp", "year",
];
