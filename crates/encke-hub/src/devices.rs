//! Devices: sessions whose place in the user's own channel is kept beyond them. Most sessions are of none, so
//! what is known of devices stands beside the sessions.

use encke_proto::{DeviceName, Position, UserId};

use crate::{Attach, Hub, Key, Output, Start, channel::Channel, session::Beginning};

/// The device that a session is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name among those of the user.
    pub name: DeviceName,
    /// How far it has got in the user's own channel, as far as is known; none if it was never here.
    pub place: Option<Position>,
}

/// How far a device of a user has got in the user's own channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceName,
    /// Everything up to here is acknowledged.
    pub position: Position,
}

impl Hub {
    /// A connection says which device its session is of.
    pub(crate) fn note_device(&mut self, key: Key, device: Option<&Device>) {
        let Some(device) = device else { return self.forget_device(key) };
        self.devices.insert(key, device.clone());
    }

    /// The session is gone, or is of no device any more.
    pub(crate) fn forget_device(&mut self, key: Key) {
        if !self.devices.is_empty() {
            self.devices.remove(&key);
        }
    }

    /// Where a session begins in the own channel that has no place there yet, and whose client names none:
    /// a device where it was, and with all that is kept when it was never here.
    pub(crate) fn own_beginning(&self, key: Key, attach: &Attach) -> (Beginning, Option<Position>) {
        match &attach.start {
            Start::Earliest => (Beginning::Earliest, None),
            Start::Absent | Start::Cursor(_) => match &attach.device {
                None => (Beginning::Handed, None),
                // The session goes on where it is.
                Some(_) if self.sessions.get(key).is_some_and(|session| !session.subs.is_empty()) => {
                    (Beginning::Handed, None)
                }
                Some(Device { place: Some(place), .. }) => (Beginning::Here, Some(*place)),
                Some(Device { place: None, .. }) => (Beginning::Earliest, None),
            },
        }
    }

    /// The device of a session, if it gets farther by what is there up to a position.
    pub(crate) fn advances(&self, key: Key, own: &Channel, up_to: Position) -> Option<&Device> {
        self.devices.get(&key).filter(|device| own.is_farther(device.place, up_to))
    }

    /// What a device was given is acknowledged up to a position. All of its sessions know; who writes it down
    /// is told, unless it was said before.
    pub(crate) fn reach(&mut self, reached: Reached) {
        let user = self.user_key(&reached.user).and_then(|key| self.users.get(key));
        let keys = user.map(|user| user.sessions.to_vec()).unwrap_or_default();
        let own = self.channel_key(&reached.user.channel());
        let (mut is_here, mut is_news) = (false, false);
        for key in keys {
            let Some(device) = self.devices.get_mut(&key).filter(|device| device.name == reached.device)
            else {
                continue;
            };
            is_here = true;
            let own = own.and_then(|own| self.channels.get(own));
            if own.is_some_and(|own| own.is_farther(device.place, reached.position)) {
                device.place = Some(reached.position);
                is_news = true;
            }
        }
        // Without a session of it here it is not known what was said before; a place never goes back.
        if is_news || !is_here {
            self.say(Output::Reached(Box::new(reached)));
        }
    }
}
