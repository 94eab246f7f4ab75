//! Where records move: window, batches, settlement, checkpoints
