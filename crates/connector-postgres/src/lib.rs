//! PostgreSQL as a source: pgoutput, watermarked snapshot, value modes

pub mod column_type;
pub mod envelope;
pub mod pgoutput;
pub mod values;
