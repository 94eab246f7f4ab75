//! Budgets to permits: pure arithmetic over an injected clock
