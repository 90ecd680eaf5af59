//! Every fixed statement has a name and stands at the top of its file, and a test prepares them all.

/// `NAME = "sql";` … makes a constant of each, and `STATEMENTS` of all.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* const $name: &str = $sql;)*

        #[cfg(test)]
        pub(super) const STATEMENTS: &[&str] = &[$($name),*];
    };
}
