//! reordering
