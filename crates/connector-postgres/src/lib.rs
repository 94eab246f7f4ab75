//! PostgreSQL as a source: pgoutput, watermarked snapshot, value modes
