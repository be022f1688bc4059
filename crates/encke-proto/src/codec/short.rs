//! The short form of a message: a JSON array, which leaves out what its receiver was told already.
//! `docs/PROTOCOL.md` has its elements. Who is told what is for the transports to say.

use crate::{
    Body, Message, Show, WebPage,
    json::{end_in_one_line, push_string},
};

/// About how many bytes there are besides the body.
const ROOM: usize = 64;

/// Writes a message; with its epoch, if its receiver was not told that.
pub(super) fn encode(out: &mut Vec<u8>, message: &Message, with_epoch: bool) {
    let start = out.len();
    let is_own = message.channel.is_own();
    push_beginning(out, message, is_own);
    push_body(out, &message.body);
    let mut tail = Tail { out, left_out: 0 };
    let kind = match &message.body {
        Body::Page(WebPage { show: Show::Frame, .. }) => Some(b'1'),
        Body::Page(WebPage { show: Show::Window, .. }) => Some(b'2'),
        Body::Data(_) | Body::Bytes(_) => None,
    };
    tail.push(kind.map(|kind| move |out: &mut Vec<u8>| out.push(kind)));
    tail.push(message.from.as_ref().map(|user| |out: &mut Vec<u8>| push_string(out, user.as_str())));
    tail.push(with_epoch.then_some(|out: &mut Vec<u8>| {
        out.push(b'"');
        message.position.epoch.push_to(out);
        out.push(b'"');
    }));
    if is_own {
        let has_time = message.id.time() != message.time;
        tail.push(has_time.then_some(|out: &mut Vec<u8>| push_number(out, message.time.0)));
    }
    tail.push(
        message
            .trace
            .as_ref()
            .map(|trace| move |out: &mut Vec<u8>| out.extend_from_slice(format!("\"{trace}\"").as_bytes())),
    );
    out.push(b']');
    end_in_one_line(out, start);
}

/// Writes what stands before the body.
fn push_beginning(out: &mut Vec<u8>, message: &Message, is_own: bool) {
    out.push(b'[');
    if is_own {
        push_number(out, message.position.offset);
        // An id holds nothing that is to be escaped.
        out.extend_from_slice(b",\"");
        out.extend_from_slice(message.id.as_bytes());
        out.extend_from_slice(b"\",");
    } else {
        push_string(out, message.channel.as_str());
        out.push(b',');
        push_number(out, message.position.offset);
        out.push(b',');
        push_number(out, message.time.0);
        out.push(b',');
    }
}

fn push_body(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Page(page) => push_string(out, &page.url),
        Body::Data(json) => {
            out.reserve(ROOM + json.get().len());
            out.extend_from_slice(json.get().as_bytes());
        }
        Body::Bytes(typed) => out.extend_from_slice(typed.json().get().as_bytes()),
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The elements behind the body, of which those at the end that say nothing are not written.
struct Tail<'a> {
    out: &'a mut Vec<u8>,
    /// How many have said nothing since the last that was written.
    left_out: usize,
}

impl Tail<'_> {
    /// The next element; none says nothing.
    fn push(&mut self, element: Option<impl FnOnce(&mut Vec<u8>)>) {
        let Some(write) = element else {
            self.left_out += 1;
            return;
        };
        (0..std::mem::take(&mut self.left_out)).for_each(|_| self.out.extend_from_slice(b",0"));
        self.out.push(b',');
        write(self.out);
    }
}
