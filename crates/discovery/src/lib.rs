//! Watches become endpoint sets for picker, gateway and sidecar.
