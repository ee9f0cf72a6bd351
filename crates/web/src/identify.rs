//! Who asks: an operator, a token, a session, or nobody.

use access::{Principal, SessionRefused, TokenRefused};
use audit::Who;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vocab::SessionId;

use crate::fault::Fault;
use crate::registry::Seat;
use crate::routes::Kind;
use crate::serve;
use crate::state::App;

/// The name of the session's cookie.
pub(crate) const COOKIE: &str = "cofferdam_session";

/// By which listener a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    /// The web listener.
    Web,
    /// The control socket.
    Control,
    /// The loopback of a running job.
    Job(Seat),
}

/// What a request brings as proof of who asks.
pub(crate) enum Claim {
    Nothing,
    Operator(u32),
    Token(String),
    Cookie(String),
    Job(Seat),
}

/// Reads the proof. A proof that cannot be read is refused, not passed over.
pub(crate) fn claim(
    door: Door,
    kind: Kind,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Claim, Fault> {
    if door == Door::Control {
        // The kernel's word on the peer, checked when the connection was accepted.
        return serve::operator(extensions)
            .map(Claim::Operator)
            .ok_or_else(Fault::unknown_caller);
    }
    if let Door::Job(seat) = door {
        // Who can connect is in the job's own network namespace; what it says of itself is
        // nothing to go by.
        return Ok(Claim::Job(seat));
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        return token_in(text).map(Claim::Token).ok_or_else(|| {
            let mut fault =
                Fault::new(StatusCode::UNAUTHORIZED, "the authorization cannot be read")
                    .todo("send an access token: as a bearer, or as the password of HTTP basic");
            fault.challenge = kind.challenges();
            fault
        });
    }
    if kind.takes_cookies()
        && let Some(cookie) = cookie(headers)
    {
        return Ok(Claim::Cookie(cookie));
    }
    Ok(Claim::Nothing)
}

/// The token in an `Authorization`.
pub(crate) fn token_in(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(' ')?;
    let token = if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        rest.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let plain = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        plain.split_once(':')?.1.to_owned()
    } else {
        return None;
    };
    (!token.is_empty()).then_some(token)
}

/// The session's cookie, if there is one.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE && !value.is_empty()).then(|| value.to_owned())
        })
}

/// Who has this proof. Blocking.
pub(crate) fn principal(app: &App, who: &Who, claim: &Claim) -> Result<Principal, Fault> {
    match claim {
        Claim::Nothing => Ok(Principal::Anonymous),
        Claim::Operator(uid) => Ok(Principal::Operator { uid: *uid }),
        Claim::Token(text) => access::authenticate_token(&app.store, &app.auditor, who, text)
            .map_err(|e| match e {
                TokenRefused::Append(_) | TokenRefused::Store(_) | TokenRefused::Database(_) => {
                    Fault::internal(e)
                }
                _ => {
                    let mut fault = Fault::new(StatusCode::UNAUTHORIZED, e)
                        .todo("make a new token on the page Access tokens");
                    fault.challenge = true;
                    fault
                }
            }),
        Claim::Cookie(cookie) => by_cookie(app, cookie),
        Claim::Job(seat) => by_seat(app, *seat),
    }
}

/// A job counts as long as its fence does.
fn by_seat(app: &App, seat: Seat) -> Result<Principal, Fault> {
    let current = app
        .store
        .read(|db| queue::is_current(db, seat.fence).map_err(Fault::internal))?;
    if current {
        Ok(Principal::Job {
            fence: seat.fence,
            repo: seat.repo,
        })
    } else {
        Err(Fault::denied(
            "this job has ended, or was handed to another runner",
        ))
    }
}

/// A session that is over makes its cookie worth nothing, no more.
fn by_cookie(app: &App, cookie: &str) -> Result<Principal, Fault> {
    let now = app.clock.now();
    app.store.read(|db| {
        let principal = match access::session(db, cookie, now) {
            Ok(principal) => principal,
            Err(e @ (SessionRefused::Database(_) | SessionRefused::Store(_))) => {
                return Err(Fault::internal(e));
            }
            Err(_) => return Ok(Principal::Anonymous),
        };
        let Principal::User { user, session, .. } = &principal else {
            return Ok(Principal::Anonymous);
        };
        let begun = begun(db, *user, *session, now)?;
        let lives = begun.is_some_and(|at| at + app.config.session_length > now);
        Ok(if lives {
            principal
        } else {
            Principal::Anonymous
        })
    })
}

fn begun(
    db: &store::Db,
    user: vocab::UserId,
    session: SessionId,
    now: std::time::SystemTime,
) -> Result<Option<std::time::SystemTime>, Fault> {
    let open = access::sessions(db, user, now).map_err(Fault::internal)?;
    Ok(open
        .into_iter()
        .find(|s| s.id == session)
        .map(|s| s.created))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_as_bearer_or_as_the_password() {
        assert_eq!(token_in("Bearer abc").unwrap(), "abc");
        let basic = format!("Basic {}", STANDARD.encode("dev:s:ecret"));
        assert_eq!(token_in(&basic).unwrap(), "s:ecret");
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Digest x",
            "Basic !!!",
            "Basic ZGV2Og==",
        ] {
            assert!(token_in(bad).is_none(), "{bad}");
        }
    }
}
