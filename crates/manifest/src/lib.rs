//! YAML and JSON text to values that know the line and column of every node.
