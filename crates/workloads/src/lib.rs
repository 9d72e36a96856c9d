//! Deployment, ReplicaSet and EndpointSlice controllers, through the API only.
