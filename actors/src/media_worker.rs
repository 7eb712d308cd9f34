//! media_worker
