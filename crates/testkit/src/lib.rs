//! Fixtures, fault queues and real servers for tests
