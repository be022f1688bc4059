//! Which tokens are good.

use super::*;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "31c6f0a5e8b94d7201f331c6f0a5e8b9";

/// What is said of a claim that is wrong.
fn wrong_claim(verified: Result<Claims, TokenError>) -> String {
    match verified {
        Err(TokenError::Claim { claim, .. } | TokenError::BadUser { claim, .. }) => claim,
        other => panic!("{other:?}"),
    }
}

fn key() -> TokenKey {
    TokenKey::hs256(&Secret::new(SECRET.into()))
}

fn claims() -> Claims {
    Claims {
        user: UserId::new("alice").unwrap(),
        expires_s: NOW + 60,
        issued_s: Some(NOW),
        jti: Some("one".into()),
        channels: Grant::of(vec!["news".into(), "room:*".into()]),
        publish: Grant::none(),
    }
}

/// A token with any claims, well signed.
fn signed(algorithm: Algorithm, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn verify(claims: &Value) -> Result<Claims, TokenError> {
    key().verify(&signed(Algorithm::HS256, claims), NOW)
}

#[test]
fn a_token_comes_back_as_it_was_signed() {
    let token = key().sign(&claims()).unwrap();
    assert_eq!(key().verify(&token, NOW), Ok(claims()));
}

#[test]
fn a_token_is_good_until_it_expires_and_not_a_second_longer() {
    let token = key().sign(&claims()).unwrap();
    assert!(key().verify(&token, NOW + 59).is_ok());
    assert_eq!(key().verify(&token, NOW + 60), Err(TokenError::Expired));
}

#[test]
fn a_token_must_expire() {
    assert_eq!(wrong_claim(verify(&json!({"sub": "alice"}))), "exp");
    assert_eq!(wrong_claim(verify(&json!({"sub": "alice", "exp": null}))), "exp");
    assert_eq!(wrong_claim(verify(&json!({"sub": "alice", "exp": "never"}))), "exp");
    // A mistake, such as milliseconds; not a token for ever.
    for exp in [json!(1e300), json!(NOW * 1000), json!(253_402_300_800_u64), json!(u64::MAX)] {
        assert_eq!(wrong_claim(verify(&json!({"sub": "alice", "exp": exp}))), "exp", "{exp}");
    }
    assert!(verify(&json!({"sub": "alice", "exp": 253_402_300_799_u64})).is_ok());
    assert_eq!(verify(&json!({"sub": "alice", "exp": -1})), Err(TokenError::Expired));
    assert!(verify(&json!({"sub": "alice", "exp": NOW as f64 + 1.5})).is_ok());
}

#[test]
fn an_unsigned_token_is_refused() {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let body = part(&json!({"sub": "alice", "exp": NOW + 60}));
    for algorithm in ["none", "None", "NONE", ""] {
        for signature in ["", "AAAA"] {
            let token = format!("{}.{body}.{signature}", part(&json!({"alg": algorithm, "typ": "JWT"})));
            assert!(
                matches!(key().verify(&token, NOW), Err(TokenError::Malformed | TokenError::WrongAlgorithm)),
                "{algorithm}"
            );
        }
    }
    let unsigned = format!("{}.{body}.", part(&json!({"alg": "HS256"})));
    assert_eq!(key().verify(&unsigned, NOW), Err(TokenError::BadSignature));
}

#[test]
fn t19_a_token_of_another_algorithm_is_refused_even_if_the_key_is_right() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = signed(algorithm, &json!({"sub": "alice", "exp": NOW + 60}));
        assert_eq!(key().verify(&token, NOW), Err(TokenError::WrongAlgorithm));
    }
}

#[test]
fn a_token_of_another_key_or_with_other_claims_is_refused() {
    let other = TokenKey::hs256(&Secret::new("0".repeat(32)));
    assert_eq!(key().verify(&other.sign(&claims()).unwrap(), NOW), Err(TokenError::BadSignature));
    let token = key().sign(&claims()).unwrap();
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts[1] = URL_SAFE_NO_PAD.encode(json!({"sub": "bob", "exp": NOW + 60}).to_string());
    assert_eq!(key().verify(&parts.join("."), NOW), Err(TokenError::BadSignature));
}

#[test]
fn the_user_must_be_one() {
    assert_eq!(wrong_claim(verify(&json!({"exp": NOW + 60}))), "sub");
    assert!(matches!(verify(&json!({"sub": "", "exp": NOW + 60})), Err(TokenError::BadUser { .. })));
    assert!(matches!(verify(&json!({"sub": "a\nb", "exp": NOW + 60})), Err(TokenError::BadUser { .. })));
    assert_eq!(wrong_claim(verify(&json!({"sub": 7, "exp": NOW + 60}))), "sub");
}

#[test]
fn absent_grants_grant_nothing() {
    let claims = verify(&json!({"sub": "alice", "exp": NOW + 60, "iss": "the application"})).unwrap();
    assert!(claims.channels.is_empty() && claims.publish.is_empty());
    for claim in ["channels", "publish"] {
        for value in [json!("*"), json!(["a", 1]), json!({"a": 1}), json!(7)] {
            let mut claims = json!({"sub": "alice", "exp": NOW + 60});
            claims[claim] = value;
            assert_eq!(wrong_claim(verify(&claims)), claim, "{claims}");
        }
    }
}

#[test]
fn an_issuers_clock_may_be_ahead_by_the_leeway_and_no_more() {
    let key = key().with_rules(Auth { leeway_s: 30, ..Auth::default() });
    let at = |claims: Value| key.verify(&signed(Algorithm::HS256, &claims), NOW);
    for ahead_s in [0, 2, 30] {
        let claims = json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + ahead_s, "iat": NOW + ahead_s});
        assert!(at(claims).is_ok(), "{ahead_s}");
    }
    assert!(at(json!({"sub": "alice", "exp": NOW + 60, "iat": -1, "nbf": NOW as f64 + 30.9})).is_ok());
    assert_eq!(at(json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + 31})), Err(TokenError::NotYet(31)));
    assert_eq!(
        at(json!({"sub": "alice", "exp": NOW + 60, "iat": NOW + 31})),
        Err(TokenError::IssuedLater(31))
    );
    assert_eq!(wrong_claim(at(json!({"sub": "alice", "exp": NOW + 60, "iat": 1e300}))), "iat");
    // The end has none: a connection is ended at it too.
    assert_eq!(at(json!({"sub": "alice", "exp": NOW})), Err(TokenError::Expired));
}

#[test]
fn a_time_that_is_no_number_is_named() {
    for claim in ["exp", "nbf", "iat"] {
        for wrong in [json!("2026-11-28T00:00:00Z"), json!("1800000000"), json!(true)] {
            let mut claims = json!({"sub": "alice", "exp": NOW + 60});
            claims[claim] = wrong;
            let error = verify(&claims).unwrap_err();
            assert!(error.to_string().starts_with(&format!("claim {claim}: ")), "{claims}: {error}");
        }
    }
    assert!(verify(&json!({"sub": "alice", "exp": NOW + 60, "nbf": null, "iat": null})).is_ok());
}

#[test]
fn a_token_for_later_or_for_others_is_refused() {
    assert_eq!(
        verify(&json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + 30})),
        Err(TokenError::NotYet(30))
    );
    assert_eq!(
        verify(&json!({"sub": "alice", "exp": NOW + 60, "aud": "another service"})),
        Err(TokenError::Audience)
    );
}

#[test]
fn an_extension_that_must_be_understood_is_not() {
    let with = |crit: Option<&[&str]>| {
        let crit = crit.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let header = Header { crit, ..Header::new(Algorithm::HS256) };
        let token = encode(
            &header,
            &json!({"sub": "alice", "exp": NOW + 60}),
            &EncodingKey::from_secret(SECRET.as_bytes()),
        )
        .unwrap();
        key().verify(&token, NOW)
    };
    assert!(with(None).is_ok());
    for crit in [&["exp"][..], &["b64"], &["http://example.invalid/UNDEFINED", "exp"], &[]] {
        assert_eq!(with(Some(crit)), Err(TokenError::Critical), "{crit:?}");
    }
}

#[test]
fn claims_are_an_object() {
    // Five values are as many as both hyper's check and the fields above take from a list.
    for claims in [json!(["alice", NOW + 60, null, null, null]), json!([]), json!("alice"), json!(null)] {
        assert_eq!(verify(&claims), Err(TokenError::Malformed), "{claims}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    for text in ["", ".", "..", "a.b.c", "a.b.c.d", "\u{1F30D}.x.y"] {
        assert_eq!(key().verify(text, NOW), Err(TokenError::Malformed), "{text}");
    }
    assert_eq!(key().verify(&"a".repeat(MAX_BYTES + 1), NOW), Err(TokenError::TooLong));
}

#[test]
fn the_key_is_not_in_its_debug_form() {
    assert!(!format!("{:?}", key()).contains(SECRET));
}

#[test]
fn a_claim_stands_once() {
    for payload in [
        r#"{"sub":"alice","sub":"bob","exp":1800000060}"#,
        r#"{"sub":"alice","exp":1800000060,"exp":1}"#,
        r#"{"sub":"alice","exp":1800000060,"x":1,"x":2}"#,
    ] {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(payload));
        let key_of = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key_of, Algorithm::HS256).unwrap();
        assert_eq!(
            key().verify(&format!("{message}.{signature}"), NOW),
            Err(TokenError::Malformed),
            "{payload}"
        );
    }
}

#[test]
fn issuer_and_audience_are_those_that_are_configured() {
    let rules = |audience: &[&str]| Auth {
        issuer: Some("https://id.example.com".to_owned()),
        audience: audience.iter().map(|one| (*one).to_owned()).collect(),
        ..Auth::default()
    };
    let at = |claims: Value, audience: &[&str]| {
        key().with_rules(rules(audience)).verify(&signed(Algorithm::HS256, &claims), NOW)
    };
    let token = |iss: Value, aud: Value| json!({"sub": "alice", "exp": NOW + 60, "iss": iss, "aud": aud});
    let issuer = json!("https://id.example.com");
    for aud in [json!("push"), json!(["push"]), json!(["other", "push"]), json!(["chat"])] {
        assert!(at(token(issuer.clone(), aud.clone()), &["push", "chat"]).is_ok(), "{aud}");
    }
    for aud in [json!("other"), json!([]), Value::Null, json!(["PUSH"]), json!("push ")] {
        let refused = at(token(issuer.clone(), aud.clone()), &["push", "chat"]);
        assert_eq!(refused, Err(TokenError::Audience), "{aud}");
    }
    // Meant for no audience, where no audience is configured.
    assert!(at(token(issuer.clone(), Value::Null), &[]).is_ok());
    assert_eq!(at(token(issuer.clone(), json!("push")), &[]), Err(TokenError::Audience));
    for aud in [json!(7), json!(["push", 7]), json!({"a": "push"})] {
        assert_eq!(wrong_claim(at(token(issuer.clone(), aud), &["push"])), "aud");
    }
    for iss in [json!("https://id.example.com/"), json!("https://evil.example"), Value::Null] {
        assert_eq!(at(token(iss, json!("push")), &["push"]), Err(TokenError::Issuer));
    }
    assert_eq!(wrong_claim(at(token(json!(["https://id.example.com"]), json!("push")), &["push"])), "iss");
    // What this server signs itself is good by its own rules.
    let own = key().with_rules(Auth { user_claim: "name".to_owned(), ..rules(&["push"]) });
    assert_eq!(own.verify(&own.sign(&claims()).unwrap(), NOW), Ok(claims()));
}

#[test]
fn other_claims_may_name_the_user_and_the_channels() {
    let rules = Auth {
        user_claim: "preferred_username".to_owned(),
        channels_claim: "https://example.com/channels".to_owned(),
        publish_claim: "may_publish".to_owned(),
        ..Auth::default()
    };
    let verify =
        |claims: Value| key().with_rules(rules.clone()).verify(&signed(Algorithm::HS256, &claims), NOW);
    let read = verify(json!({
        "sub": "7c1f", "preferred_username": "alice", "exp": NOW + 60, "channels": ["*"], "publish": ["*"],
        "https://example.com/channels": ["news"], "may_publish": ["room:*"],
    }))
    .unwrap();
    assert_eq!(read.user.as_str(), "alice");
    assert_eq!(read.channels, Grant::of(vec!["news".into()]));
    assert_eq!(read.publish, Grant::of(vec!["room:*".into()]));
    let missing = verify(json!({"sub": "7c1f", "exp": NOW + 60}));
    assert_eq!(wrong_claim(missing), "preferred_username");
    let empty = verify(json!({"sub": "7c1f", "preferred_username": "", "exp": NOW + 60})).unwrap_err();
    assert!(empty.to_string().starts_with("claim preferred_username: "), "{empty}");
}
