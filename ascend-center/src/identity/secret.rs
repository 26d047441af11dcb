//! Tokens: 256 random bits, of which the database has the SHA-256. A guess
//! cannot succeed, so a slow hash would protect nothing, and cost every request.

use std::io;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// A token that nobody has yet. What it is for stands at its start, so that
/// people and scanners can tell; the center itself never goes by that.
pub(crate) fn token(purpose: &str) -> io::Result<SecretString> {
    Ok(format!("ascend_{purpose}_{}", hex::encode(random::<32>()?)).into())
}

pub(crate) fn hash(token: &SecretString) -> String {
    hex::encode(Sha256::digest(token.expose_secret()))
}

/// A password that is easy to read out: 125 bits.
pub(crate) fn password() -> io::Result<SecretString> {
    // No letter or digit that looks like another.
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes = random::<25>()?;
    let mut text = String::with_capacity(29);
    for (index, byte) in bytes.into_iter().enumerate() {
        if index > 0 && index % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_differ() -> io::Result<()> {
        let (one, other) = (token("agent")?, token("agent")?);
        assert!(one.expose_secret().starts_with("ascend_agent_"));
        assert_eq!(one.expose_secret().len(), "ascend_agent_".len() + 64);
        assert_ne!(hash(&one), hash(&other));
        assert!(!format!("{one:?}").contains("ascend"));
        let password = password()?;
        assert_eq!(password.expose_secret().len(), 29);
        assert!(password.expose_secret().bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric()));
        Ok(())
    }
}
