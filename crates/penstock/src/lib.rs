//! Moves changes between PostgreSQL and Salesforce, in order, and proves it
