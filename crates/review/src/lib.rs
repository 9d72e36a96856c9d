//! Documents with positions become verdicts: admission, defaults, unknown fields.
