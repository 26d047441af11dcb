//! Verb and risk of SQL, shell commands and paths.
