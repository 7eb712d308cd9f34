//! Which traces are kept from their beginning. The others are recorded all the same and held for a while, so that errors and slow calls
//! are kept too ([`super::keeping`]).

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use super::settings::Sampling;

/// By the trace's parent and by chance.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    is_parent_based: bool,
    /// Traces with a lower number than this are kept; one more than all of them: every one.
    below: u128,
    otherwise: SamplingDecision,
}

impl Sampler {
    /// As it was set.
    pub(crate) fn new(sampling: Sampling) -> Self {
        // The last 7 bytes of a trace's id are random by W3C Trace Context §3.2.2.3, and all 8 by the SDK.
        let all = (1_u128 << 64) as f64;
        Self {
            is_parent_based: sampling.is_parent_based,
            below: (sampling.ratio.clamp(0.0, 1.0) * all) as u128,
            otherwise: match sampling.keeps_bad {
                true => SamplingDecision::RecordOnly,
                false => SamplingDecision::Drop,
            },
        }
    }

    fn is_lucky(&self, trace: TraceId) -> bool {
        let bytes = trace.to_bytes();
        let (_, last) = bytes.split_at(8);
        let number = last.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        number < self.below
    }
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _name: &str,
        _kind: &SpanKind,
        attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|parent| parent.span().span_context().clone());
        let parent = parent.filter(opentelemetry::trace::SpanContext::is_valid);
        let is_kept = match &parent {
            Some(parent) if self.is_parent_based || !parent.is_remote() => parent.is_sampled(),
            None if is_chosen(attributes) => true,
            _ => self.is_lucky(trace),
        };
        let decision = match is_kept {
            true => SamplingDecision::RecordAndSample,
            false => self.otherwise.clone(),
        };
        SamplingResult {
            decision,
            attributes: Vec::new(),
            trace_state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
        }
    }
}

/// Whether a span was chosen before it was made.
fn is_chosen(attributes: &[KeyValue]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.key.as_str() == "sampling.priority")
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    use super::*;

    fn sampler(is_parent_based: bool, ratio: f64) -> Sampler {
        Sampler::new(Sampling {
            is_parent_based,
            ratio,
            keeps_bad: true,
        })
    }

    fn decide(sampler: &Sampler, trace: u128, parent: Option<TraceFlags>) -> SamplingDecision {
        let trace = TraceId::from_bytes(trace.to_be_bytes());
        let parent = parent.map(|flags| {
            let span = SpanId::from_bytes([1; 8]);
            Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
        });
        let result = sampler.should_sample(parent.as_ref(), trace, "x", &SpanKind::Server, &[], &[]);
        result.decision
    }

    #[test]
    fn a_ratio_keeps_its_share_and_the_same_everywhere() {
        let quarter = sampler(true, 0.25);
        // Spread evenly, as ids are.
        let ids = (1..=10_000_u128).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let kept = ids.filter(|id| decide(&quarter, *id, None) == SamplingDecision::RecordAndSample);
        let kept = kept.count();
        assert!((2_300..2_700).contains(&kept), "{kept}");
        assert_eq!(
            decide(&sampler(true, 1.0), u128::MAX, None),
            SamplingDecision::RecordAndSample
        );
        assert_eq!(decide(&sampler(true, 0.0), 1, None), SamplingDecision::RecordOnly);
    }

    #[test]
    fn what_was_chosen_is_kept_whatever_the_ratio() {
        let chosen = [KeyValue::new("sampling.priority", 1)];
        let trace = TraceId::from_bytes(u128::MAX.to_be_bytes());
        let result = sampler(true, 0.01).should_sample(None, trace, "x", &SpanKind::Server, &chosen, &[]);
        assert_eq!(result.decision, SamplingDecision::RecordAndSample);
    }

    #[test]
    fn a_parent_decides_where_it_is_to() {
        let (yes, no) = (Some(TraceFlags::SAMPLED), Some(TraceFlags::default()));
        assert_eq!(decide(&sampler(true, 0.0), 1, yes), SamplingDecision::RecordAndSample);
        assert_eq!(decide(&sampler(true, 1.0), 1, no), SamplingDecision::RecordOnly);
        assert_eq!(decide(&sampler(false, 1.0), 1, no), SamplingDecision::RecordAndSample);
        assert_eq!(decide(&sampler(false, 0.0), 1, yes), SamplingDecision::RecordOnly);
    }
}
