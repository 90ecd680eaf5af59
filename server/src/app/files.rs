//! Each socket is an open file, and most systems allow a process a thousand of them unless it asks for more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The database's, the bus's, the providers', and what else is open.
const OTHERS: u64 = 512;

/// Asks for as many as the system lets it have; warns if they are too few for the sockets that are let in.
pub fn allow_open_files(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let allowed = if raised.is_ok() { maximum } else { current };
    let wanted = connections as u64 + OTHERS;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "fewer files may be open than PROMPTROOM_CONNECTIONS needs: the rest of the sockets will be refused"
        );
    }
}
