//! Log records on their way to a collector.

use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};

use super::outbox::Outbox;

/// A record and who made it.
pub(super) type Record = Box<(SdkLogRecord, InstrumentationScope)>;

/// Takes records.
#[derive(Debug)]
pub(super) struct Records(pub(super) Outbox<Record>);

impl LogProcessor for Records {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.push(Box::new((record.clone(), scope.clone())));
    }

    /// Whoever has the other end of the outbox flushes.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
