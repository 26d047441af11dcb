//! HMAC-SHA256, by which we sign what we send, and check what we are sent.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

fn mac(secret: &SecretString, parts: &[&[u8]]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// In lower-case hexadecimal digits.
pub(super) fn sign(secret: &SecretString, parts: &[&[u8]]) -> String {
    hex::encode(mac(secret, parts).finalize().into_bytes())
}

/// Whether this is the signature, in a time that says nothing about it.
pub(super) fn fits(secret: &SecretString, parts: &[&[u8]], signature: &[u8]) -> bool {
    mac(secret, parts).verify_slice(signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '2026-11-22T14:00:00.000000+00:00.{"a": 1}' | openssl dgst -sha256 -hmac secret`
    #[test]
    fn signatures_are_those_of_openssl() {
        let parts: [&[u8]; 3] = [b"2026-11-22T14:00:00.000000+00:00", b".", br#"{"a": 1}"#];
        let signature = sign(&"secret".into(), &parts);
        assert_eq!(signature, "b3938f17dc890056f75aa7964777411330187c900bd352b12c03c2c0b74289fa");
        let bytes = hex::decode(&signature).expect("hexadecimal");
        assert!(fits(&"secret".into(), &parts, &bytes));
        assert!(!fits(&"other".into(), &parts, &bytes));
        assert!(!fits(&"secret".into(), &parts, &bytes[..31]));
        assert!(!fits(&"secret".into(), &parts[..2], &bytes));
    }
}
