//! The handlers behind each kind of listener.

use axum::Router;

use crate::connection::ListenerRole;

/// What answers requests that do not wait. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Routers {
    /// Behind `listen` and `tls_listen`.
    pub main: Router,
    /// Behind `admin_listen`, if there is one.
    pub admin: Option<Router>,
}

impl Routers {
    /// What answers the requests of a connection that came in by a listener of this role.
    pub fn of(&self, role: ListenerRole) -> Router {
        match (&self.admin, role) {
            (Some(admin), ListenerRole::Admin) => admin.clone(),
            _ => self.main.clone(),
        }
    }
}
