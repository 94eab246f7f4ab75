//! A PostgreSQL server of one's own, in a folder, for the demo and the tests.
