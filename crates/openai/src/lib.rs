//! What routing and serving need of the OpenAI protocol: requests, SSE, errors.
