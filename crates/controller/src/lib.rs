//! Watches LLMInferenceServices, applies what they need, reports what is.
