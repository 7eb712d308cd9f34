//! The one crypto backend of DTLS, SRTP and STUN.

use std::sync::{Arc, OnceLock};

use rtc_crypto::providers::AwsLcRsProvider;
use rtc_crypto::{RTCCrypto, RTCCryptoProvider};

/// The provider; one serves the process.
pub(crate) fn provider() -> &'static Arc<dyn RTCCryptoProvider> {
    static PROVIDER: OnceLock<Arc<dyn RTCCryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(AwsLcRsProvider::new()))
}

/// Its ciphers and hashes.
pub(crate) fn crypto() -> &'static dyn RTCCrypto {
    provider().crypto()
}
