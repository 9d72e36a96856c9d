//! An effective spec and observed facts become desired objects and a status.
