//! Presets, base references and a service become one effective spec.
