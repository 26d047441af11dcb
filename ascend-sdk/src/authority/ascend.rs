//! ASCEND over HTTP.
