//! Client tokens: what was signed comes back, nothing else is good, and a head that names another algorithm
//! is refused even where the signature is right.

use arbitrary::Arbitrary;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use encke::{
    auth::{Claims, Grant, TokenError, TokenKey},
    config::Secret,
};
use encke_proto::UserId;
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use serde_json::Value;

use crate::input::typed;

const SECRET: &str = "31c6f0a5e8b94d7201f331c6f0a5e8b9";

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// What a client brings.
    Text(&'a str),
    /// What this server signs, and one byte of it changed.
    Claims { user: &'a str, expires_s: u64, now_s: u64, channels: Option<Vec<String>>, at: u16, byte: u8 },
    /// What an issuer signed that has the secret.
    Signed { head: &'a str, claims: &'a str, now_s: u64 },
}

/// See the module.
pub fn run(bytes: &[u8]) {
    let key = TokenKey::hs256(&Secret::new(SECRET.to_owned()));
    match typed::<Input<'_>>(bytes) {
        // No input of the fuzzer's has a right signature by chance.
        Some(Input::Text(text)) => assert!(key.verify(text, 0).is_err(), "{text}"),
        Some(Input::Claims { user, expires_s, now_s, channels, at, byte }) => {
            let Ok(user) = UserId::new(user) else { return };
            let channels = channels.map_or_else(Grant::none, Grant::of);
            own(
                &key,
                &Claims { user, expires_s, issued_s: None, jti: None, channels, publish: Grant::none() },
                now_s,
                usize::from(at),
                byte,
            );
        }
        Some(Input::Signed { head, claims, now_s }) => foreign(&key, head, claims, now_s),
        None => {}
    }
}

fn own(key: &TokenKey, claims: &Claims, now_s: u64, at: usize, byte: u8) {
    let Ok(token) = key.sign(claims) else { return };
    // A time after the year 9999 is no time.
    if claims.expires_s < 253_402_300_800 {
        let expected = if claims.expires_s > now_s { Ok(claims.clone()) } else { Err(TokenError::Expired) };
        assert_eq!(key.verify(&token, now_s), expected);
    }
    let mut changed = token.clone().into_bytes();
    let at = at % changed.len();
    changed[at] = byte;
    let Ok(changed) = String::from_utf8(changed) else { return };
    if changed != token {
        let read = key.verify(&changed, now_s);
        assert!(read.is_err(), "{changed} is good, and {token} was signed");
    }
}

fn foreign(key: &TokenKey, head: &str, claims: &str, now_s: u64) {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let signature = sign(message.as_bytes(), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256)
        .expect("it signs");
    let Ok(read) = key.verify(&format!("{message}.{signature}"), now_s) else { return };
    // Whatever is good says so itself: an object with this algorithm, a user and a time that is to come.
    let head: Value = serde_json::from_str(head).expect("the head is JSON");
    assert_eq!(head["alg"], "HS256");
    let claims: Value = serde_json::from_str(claims).expect("the claims are JSON");
    assert_eq!(claims["sub"], read.user.as_str());
    assert!(claims["exp"].as_f64().expect("there is an end") > now_s as f64);
    assert!(claims.get("nbf").and_then(Value::as_f64).is_none_or(|nbf| nbf < now_s as f64 + 1.0));
}
