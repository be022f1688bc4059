//! One push: a page or a message to users' own channels, with the answer who of them is online.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, LazyLock},
    time::Instant,
};

use encke_engine::{Append, AppendNow, Appended, EngineError, Key, Targets};
use encke_proto::{
    Body, ErrorCode, MessageId, NameError, PageUrl, PlainJson, Show, UserId, WebPage, json,
    limits::PUSH_MAX_TARGETS,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{body, refusal::Refused},
    inline::{Begun, WITHIN_TURN_MAX},
    metrics::{AtomicHistogram, Metrics},
    push_history::Note,
    random,
    traces::PublishSpan,
    validation,
};

/// How long pushes took until the engine had them; looked up once.
static ACCEPTED: LazyLock<AtomicHistogram> = LazyLock::new(|| Metrics::global().accepted_us.of("push"));
/// The most names in each list of the answer.
const LISTED_MAX: usize = 10_000;
/// The longest time to live, in seconds: a year.
const TTL_MAX_S: u64 = 31_536_000;

/// A page or a message for users.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push {
    #[serde(deserialize_with = "to")]
    to: To,
    /// The page to show: http or https. Either this…
    url: Option<String>,
    /// In what receivers are to show the page: in a frame of theirs, as if nothing is said, or in a window of
    /// its own, for pages that forbid frames. Only beside `url`.
    show: Option<Show>,
    /// …or any JSON, at most 32 deep.
    #[serde(default, deserialize_with = "body::compact")]
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<body::Published>,
    /// How long it waits for users who are offline, in seconds; at most a year. Default: the server's
    /// `push_ttl_s`.
    ttl_s: Option<u64>,
    /// The idempotency key: the same key gives one push, however often it is sent. With other users, or with
    /// another page or message, it is refused (`key_reused`).
    id: Option<String>,
}

impl Push {
    /// Reads a push of the plainest form: for users by name, with strings that have no escapes, each field
    /// once. None leaves it to the deserializer, which reads the same where this reads anything.
    pub(crate) fn read_plain(body: &[u8]) -> Option<Self> {
        let mut json = PlainJson::of(std::str::from_utf8(body).ok()?);
        let (mut to, mut url, mut show, mut data, mut ttl_s, mut id) = (None, None, None, None, None, None);
        let mut begins = json.takes(b'{');
        while begins || json.takes(b',') {
            begins = false;
            let name = json.string().filter(|_| json.takes(b':'))?;
            let is_new = match name {
                "to" => to.replace(plain_names(&mut json)?).is_none(),
                "url" => url.replace(json.string()?.to_owned()).is_none(),
                "show" => show.replace(plain_show(json.string()?)?).is_none(),
                "data" => data.replace(Ok(json.compact()?)).is_none(),
                "ttl_s" => ttl_s.replace(json.whole_number()?).is_none(),
                "id" => id.replace(json.string()?.to_owned()).is_none(),
                _ => false,
            };
            is_new.then_some(())?;
        }
        (json.takes(b'}') && json.is_at_end()).then_some(())?;
        Some(Self { to: To::Users(to?), url, show, data, ttl_s, id })
    }

    /// Whether it is for so many that a shard must not do it within a turn.
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.to, To::Group(_)) || self.users() > WITHIN_TURN_MAX
    }

    /// How many users it names.
    pub(crate) fn users(&self) -> usize {
        match &self.to {
            To::Users(users) => users.len(),
            To::Group(_) => 0,
        }
    }
}

/// To whom.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "`to` has to be a list of users, \"all\" or \"online\"")]
pub(crate) enum To {
    /// These users; at most 10,000.
    #[schema(value_type = Vec<String>)]
    Users(Vec<Named>),
    /// Many at once.
    Group(Group),
}

/// A user by name, or what is wrong with the name: read in one, since most are right.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Named(#[serde(deserialize_with = "named")] Result<UserId, NameError>);

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<UserId, NameError>, D::Error> {
    struct Reads;
    impl Visitor<'_> for Reads {
        type Value = Result<UserId, NameError>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a user")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(UserId::new(name))
        }
    }
    deserializer.deserialize_str(Reads)
}

/// Takes a list of names.
fn plain_names(json: &mut PlainJson<'_>) -> Option<Vec<Named>> {
    // Most are for one.
    let (mut names, mut begins) = (Vec::with_capacity(1), json.takes(b'['));
    while begins || json.takes(b',') {
        begins = false;
        names.push(Named(UserId::new(json.string()?)));
    }
    json.takes(b']').then_some(names)
}

/// What a page is to be shown in, by its name.
fn plain_show(name: &str) -> Option<Show> {
    [Show::Frame, Show::Window].into_iter().find(|show| show.name() == name)
}

const TO: &str = "`to` has to be a list of users, \"all\" or \"online\"";

/// Reads to whom. What is derived for [`To`], which the schema is made of, reads the same, but takes a copy
/// of it first.
fn to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<To, D::Error> {
    struct Reads;
    impl<'de> Visitor<'de> for Reads {
        type Value = To;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(TO)
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<To, E> {
            Group::try_from(word.to_owned()).map(To::Group).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, users: A) -> Result<To, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(users)).map(To::Users)
        }
    }
    deserializer.deserialize_any(Reads).map_err(|_| de::Error::custom(TO))
}

/// Users without their names. Read from a word alone: what serde derives would take `{"all":null}` too.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(rename_all = "lowercase")]
pub(crate) enum Group {
    /// All users whom the server has ever seen.
    All,
    /// All users who have a session now.
    Online,
}

impl TryFrom<String> for Group {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "all" => Ok(Self::All),
            "online" => Ok(Self::Online),
            _ => Err("neither `all` nor `online`"),
        }
    }
}

/// A push in the logs of its users.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pushed {
    #[schema(value_type = String)]
    id: MessageId,
    /// How safe it is: `memory`, `log`, `redis` or `nats`.
    mode: &'static str,
    /// For how many users it is in the log.
    accepted: usize,
    /// The users who had a session; at most 10,000 are named.
    #[schema(value_type = Vec<String>)]
    online: Vec<UserId>,
    /// The users who will get it at their next login; at most 10,000 are named.
    #[schema(value_type = Vec<String>)]
    offline: Vec<UserId>,
    /// Whether not all of them are named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl Pushed {
    fn of(app: &App, appended: Appended, mut online: Vec<UserId>) -> Self {
        let accepted = appended.positions.len();
        let (mut offline, mut truncated) = (Vec::new(), false);
        let alone = matches!((appended.positions.as_slice(), online.as_slice()),
            ([(channel, _)], [user]) if channel.is_own_of(user));
        if !alone {
            let mut listed = Vec::new();
            for user in appended.positions.iter().filter_map(|(channel, _)| channel.owner()) {
                let list = if online.binary_search(&user).is_ok() { &mut listed } else { &mut offline };
                if list.len() < LISTED_MAX {
                    list.push(user);
                } else {
                    truncated = true;
                }
            }
            online = listed;
        }
        Self { id: appended.id, mode: app.engine.mode().as_str(), accepted, online, offline, truncated }
    }

    /// The answer's body: what serde would write, without its detours. There is one for every push.
    pub(crate) fn json(&self) -> Vec<u8> {
        let names = |users: &[UserId]| users.iter().map(|user| user.as_str().len() + 3).sum::<usize>();
        let mut out = Vec::with_capacity(128 + names(&self.online) + names(&self.offline));
        // Neither an id nor a mode has anything that is to be escaped.
        let (mode, id) = (self.mode.as_bytes(), self.id.as_bytes());
        for part in [br#"{"id":""#, id, br#"","mode":""#, mode, br#"","accepted":"#] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(itoa::Buffer::new().format(self.accepted).as_bytes());
        for (name, users) in [(r#","online":["#, &self.online), (r#"],"offline":["#, &self.offline)] {
            out.extend_from_slice(name.as_bytes());
            for (number, user) in users.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                json::push_string(&mut out, user.as_str());
            }
        }
        out.extend_from_slice(if self.truncated { br#"],"truncated":true}"# } else { b"]}" });
        out
    }
}

/// Pushes it as far as that needs no waiting, whatever has read the request: it is refused, or appended, or
/// goes on to wait for the other nodes or for the engine.
pub(crate) fn begin(app: &Arc<App>, push: Push) -> Begun<Result<Pushed, Refused>> {
    let checked = match check(app, push) {
        Ok(checked) => checked,
        Err(refused) => return Begun::Done(Err(refused)),
    };
    // Asked before the append: once that is done, nothing may fail any more, or it would be sent again.
    match online_now(app, checked.named()) {
        Some(Ok(online)) => begin_append(app, checked, online),
        Some(Err(refused)) => Begun::Done(Err(refused)),
        None => {
            let app = Arc::clone(app);
            Begun::Goes(Box::pin(async move {
                let online = online_among(&app, checked.named()).await?;
                begin_append(&app, checked, online).finish().await
            }))
        }
    }
}

/// Appends it when it is known who is online.
fn begin_append(app: &Arc<App>, push: Checked, online: Vec<UserId>) -> Begun<Result<Pushed, Refused>> {
    let Prepared { append, underway } = match prepare(app, push, || online.clone()) {
        Ok(prepared) => prepared,
        Err(refused) => return Begun::Done(Err(refused)),
    };
    let appended = match &app.events {
        // It is noted first when it ends, and that waits.
        Some(events) if events.notes_ends() => AppendNow::Waits(append),
        _ => app.engine.append_now(append),
    };
    match appended {
        AppendNow::Done(appended) => {
            Begun::Done(underway.done(app, appended).map(|appended| Pushed::of(app, appended, online)))
        }
        AppendNow::Waits(append) => {
            let app = Arc::clone(app);
            Begun::Goes(Box::pin(async move {
                let appended = match note_ends(&app, [&append]).await {
                    Ok(()) => app.engine.append(append).await,
                    Err(error) => Err(error),
                };
                Ok(Pushed::of(&app, underway.done(&app, appended)?, online))
            }))
        }
    }
}

/// A push whose form is right.
pub(crate) struct Checked {
    to: Receivers,
    body: Body,
    key: Option<Key>,
    ttl_s: u64,
    span: Option<Box<PublishSpan>>,
}

enum Receivers {
    Named(Vec<UserId>),
    Group(Group),
}

impl Receivers {
    /// What a repeat of the push has to say as well: names, or a word that is none.
    fn words(&self) -> Vec<&str> {
        match self {
            Self::Named(users) => users.iter().map(UserId::as_str).collect(),
            Self::Group(Group::All) => vec!["\nall"],
            Self::Group(Group::Online) => vec!["\nonline"],
        }
    }
}

impl Checked {
    /// The users that it names; none when it is for a group.
    pub(crate) fn named(&self) -> Option<&[UserId]> {
        match &self.to {
            Receivers::Named(users) => Some(users),
            Receivers::Group(_) => None,
        }
    }

    /// Whether it is for all who are online.
    pub(crate) fn is_for_online(&self) -> bool {
        matches!(self.to, Receivers::Group(Group::Online))
    }
}

/// Looks at all of a push that can be judged without asking anything else.
pub(crate) fn check(app: &App, push: Push) -> Result<Checked, Refused> {
    let span = app.tracer.get().and_then(|tracer| tracer.begin("push"));
    let body = body_of(app, push.url.as_deref(), push.show, push.data)?;
    let key = validation::key("api:push", push.id.as_deref())?;
    let ttl_s = push.ttl_s.unwrap_or(app.config.push_ttl_s);
    if !(1..=TTL_MAX_S).contains(&ttl_s) {
        return Err(Refused::bad(format!("`ttl_s` has to be from 1 to {TTL_MAX_S}")));
    }
    let to = match push.to {
        To::Users(names) => Receivers::Named(users_of(names)?),
        To::Group(group) => Receivers::Group(group),
    };
    let key = key.map(|text| Key::of_request(text, to.words().into_iter(), &body));
    Ok(Checked { to, body, key, ttl_s, span })
}

/// A push that is accepted now, as it is appended.
pub(crate) struct Prepared {
    append: Append,
    underway: Underway,
}

/// What is told of a push when the engine has it.
struct Underway {
    began: Instant,
    span: Option<Box<PublishSpan>>,
    note: Note,
}

/// Makes a push ready to be appended; `online_users` gives all who are online, by id.
pub(crate) fn prepare(
    app: &App,
    push: Checked,
    online_users: impl FnOnce() -> Vec<UserId>,
) -> Result<Prepared, Refused> {
    let began = Instant::now();
    let (append, span) = append_of(app, push, online_users)?;
    let note = Note::of(&append);
    Ok(Prepared { append, underway: Underway { began, span, note } })
}

/// Notes when pushes end that are appended next, if the application is told of that.
pub(crate) async fn note_prepared(
    app: &App,
    pushes: impl IntoIterator<Item = &Prepared>,
) -> Result<(), Refused> {
    Ok(note_ends(app, pushes.into_iter().map(|push| &push.append)).await?)
}

async fn note_ends<'a>(app: &App, pushes: impl IntoIterator<Item = &'a Append>) -> Result<(), EngineError> {
    match &app.events {
        Some(events) => events.pushing(pushes).await,
        None => Ok(()),
    }
}

/// Appends a push.
pub(crate) async fn append(app: &App, push: Prepared) -> Result<Appended, Refused> {
    let Prepared { append, underway } = push;
    underway.done(app, app.engine.append(append).await)
}

/// What is appended of a push that is accepted now, and its span if it is traced.
fn append_of(
    app: &App,
    push: Checked,
    online_users: impl FnOnce() -> Vec<UserId>,
) -> Result<(Append, Option<Box<PublishSpan>>), Refused> {
    let mut span = push.span;
    let targets = match push.to {
        Receivers::Named(users) => Targets::Users(users),
        Receivers::Group(Group::All) => Targets::AllUsers,
        Receivers::Group(Group::Online) => Targets::Users(online_users()),
    };
    let time = app.now().wall;
    let id = MessageId::fresh(time, random::pooled_bits()?);
    let expires = Some(time.plus_seconds(push.ttl_s));
    let trace = span.as_mut().map(|span| span.appends());
    let append = Append { id, key: push.key, targets, body: push.body, from: None, time, expires, trace };
    Ok((append, span))
}

impl Underway {
    /// What the engine has said, counted and noted.
    fn done(self, app: &App, appended: Result<Appended, EngineError>) -> Result<Appended, Refused> {
        PublishSpan::end(self.span, appended.as_ref().map_err(|error| error as &dyn fmt::Display));
        let appended = appended?;
        if !appended.repeated {
            Metrics::global().pushes.inc();
            ACCEPTED.observe(self.began.elapsed());
            app.push_history.note(self.note);
        }
        Ok(appended)
    }
}

fn body_of(
    app: &App,
    url: Option<&str>,
    show: Option<Show>,
    data: Option<body::Published>,
) -> Result<Body, Refused> {
    match (url, show, data) {
        (Some(url), show, None) => {
            let page = PageUrl::parse(url)?;
            app.config.url_allow_list.check(&page)?;
            Ok(Body::Page(WebPage { url: page.to_shared(), show: show.unwrap_or_default() }))
        }
        (None, None, Some(data)) => Ok(Body::Data(data?)),
        (None, Some(_), _) => Err(Refused::bad("`show` is for pages: send `url` beside it")),
        _ => Err(Refused::bad("send either `url` or `data`")),
    }
}

/// The users that are named, each once, in the order in which they are.
fn users_of(names: Vec<Named>) -> Result<Vec<UserId>, Refused> {
    if names.is_empty() {
        return Err(Refused::bad("`to` names no user"));
    }
    if names.len() > PUSH_MAX_TARGETS {
        return Err(ErrorCode::TooManyTargets.into());
    }
    let count = names.len();
    let users = names.into_iter().map(|Named(user)| user.map_err(Refused::from));
    if count == 1 {
        return users.collect();
    }
    let mut seen = HashSet::with_capacity(count);
    users.filter(|user| user.as_ref().map_or(true, |user| seen.insert(user.clone()))).collect()
}

/// Who of users by name is online, by id, if that is known without asking.
fn online_now(app: &App, named: Option<&[UserId]>) -> Option<Result<Vec<UserId>, Refused>> {
    let named = named?;
    let mut online = Vec::with_capacity(named.len());
    for user in named {
        match app.sessions.is_online_now(user)? {
            Ok(true) => online.push(user.clone()),
            Ok(false) => {}
            Err(code) => return Some(Err(code.into())),
        }
    }
    online.sort_unstable();
    Some(Ok(online))
}

/// Who of these users, or of all, is online, by id.
async fn online_among(app: &App, named: Option<&[UserId]>) -> Result<Vec<UserId>, Refused> {
    let Some(named) = named else { return Ok(app.sessions.online_users().await?) };
    let online = app.sessions.are_online(named).await?;
    let mut online: Vec<UserId> =
        named.iter().zip(online).filter(|(_, online)| *online).map(|(user, _)| user.clone()).collect();
    online.sort_unstable();
    Ok(online)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_what_serde_would_write() {
        let users = |names: &[&str]| names.iter().map(|name| UserId::new(name).unwrap()).collect::<Vec<_>>();
        for (online, offline) in [
            (&[][..], &[][..]),
            (&["alice"], &[]),
            (&[], &["a b"]),
            (&["\"quoted\"", "Ünïcode", "四"], &["back\\slash", "x"]),
        ] {
            for truncated in [false, true] {
                let pushed = Pushed {
                    id: MessageId::from_bits(7),
                    mode: "memory",
                    accepted: online.len() + offline.len(),
                    online: users(online),
                    offline: users(offline),
                    truncated,
                };
                assert_eq!(
                    String::from_utf8(pushed.json()).unwrap(),
                    serde_json::to_string(&pushed).unwrap()
                );
            }
        }
    }

    /// What a push says, in a form that can be compared.
    fn said(push: &Push) -> String {
        let to = match &push.to {
            To::Users(names) => format!("{:?}", names.iter().map(|Named(name)| name).collect::<Vec<_>>()),
            To::Group(Group::All) => "all".to_owned(),
            To::Group(Group::Online) => "online".to_owned(),
        };
        let data = push.data.as_ref().map(|data| data.as_ref().map(|json| json.get()));
        format!("{to} {:?} {data:?} {:?} {:?}", push.url, push.ttl_s, push.id)
    }

    #[test]
    fn a_plain_push_is_read_as_the_deserializer_reads_it() {
        for (text, is_plain) in [
            (r#"{"to":["alice"],"data":"x"}"#, true),
            (
                r#" { "to" : [ "alice" , "Ünï", "" , "alice" ] , "url":"http://x/", "ttl_s" : 60 ,"id": "k" } "#,
                true,
            ),
            (r#"{"data":{"a":[1, 2.5e3, "\n\u00fc"],"b":null},"to":["a"]}"#, true),
            (r#"{"data":null,"to":["a"]}"#, true),
            (r#"{"to":["a"],"ttl_s":18446744073709551615}"#, true),
            (r#"{"to":["al\u0069ce"],"data":1}"#, false),
            (r#"{"\u0074o":["alice"],"data":1}"#, false),
            (r#"{"to":"all","data":1}"#, false),
            (r#"{"to":["a"],"data":1,"id":null}"#, false),
            (r#"{"to":["a"],"data":1,"ttl_s":null}"#, false),
        ] {
            let read: Push = body::parse(text.as_bytes()).unwrap();
            let plain = Push::read_plain(text.as_bytes());
            assert_eq!(plain.is_some(), is_plain, "{text}");
            assert!(plain.is_none_or(|plain| said(&plain) == said(&read)), "{text}");
        }
    }

    #[test]
    fn what_the_deserializer_refuses_is_never_plain() {
        let deep = format!(r#"{{"to":["a"],"data":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
        let texts = [
            "",
            "{}",
            "[]",
            "{",
            "null",
            r#"{"to":["a"],}"#,
            r#"{,"to":["a"]}"#,
            r#"{"to":["a",]}"#,
            r#"{"to":[,"a"]}"#,
            r#"{"to":["a"]"#,
            r#"{"to":["a"]}}"#,
            r#"{"to":["a"]} 1"#,
            r#"{"to":["a" "b"]}"#,
            r#"{"to":["a"] "data":1}"#,
            r#"{"to":["a"],"to":["b"]}"#,
            r#"{"to":["a"],"data":1,"data":2}"#,
            r#"{"to":["a"],"colour":1}"#,
            r#"{"data":1}"#,
            r#"{"to":[1],"data":1}"#,
            r#"{"to":["a"],"data":tru}"#,
            r#"{"to":["a"],"data":01}"#,
            r#"{"to":["a"],"data":[1,]}"#,
            r#"{"to":["a"],"data":"\x"}"#,
            r#"{"to":["a"],"ttl_s":-1}"#,
            r#"{"to":["a"],"ttl_s":1.0}"#,
            r#"{"to":["a"],"ttl_s":01}"#,
            r#"{"to":["a"],"ttl_s":18446744073709551616}"#,
            r#"{"to":["a"],"url":1}"#,
            r#"{"to" ["a"]}"#,
            "\u{feff}{\"to\":[\"a\"],\"data\":1}",
            "{\"to\":[\"a\n\"],\"data\":1}",
            deep.as_str(),
        ];
        for text in texts {
            assert!(body::parse::<Push>(text.as_bytes()).is_err(), "{text}");
            assert!(Push::read_plain(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Push::read_plain(b"{\"to\":[\"\xff\"],\"data\":1}").is_none());
    }

    #[test]
    fn a_push_is_large_by_whom_it_is_for() {
        let is_large = |to: serde_json::Value| {
            let push: Push = body::parse(json!({ "to": to, "data": 1 }).to_string().as_bytes()).unwrap();
            push.is_large()
        };
        let users = |count: usize| (0..count).map(|number| format!("user {number}")).collect::<Vec<_>>();
        assert_eq!(
            [0, 1, WITHIN_TURN_MAX, WITHIN_TURN_MAX + 1].map(|count| is_large(json!(users(count)))),
            [false, false, false, true]
        );
        assert!(is_large(json!("all")) && is_large(json!("online")));
    }
}
