//! Go text/template with positions in every error.
