//! Who gives a command: the user of the operating system.

use contract::{Clock, SystemClock};
use pipeline::dlq::Operator;

/// The operator of this process, now. Under `sudo` both names.
pub fn operator(why: Option<String>) -> Operator {
    let own = user_name(rustix::process::getuid().as_raw());
    let who = match std::env::var("SUDO_USER") {
        Ok(behind) if behind != own => format!("{own} (sudo of {behind})"),
        _ => own,
    };
    Operator { who, at_ms: SystemClock::new().now_ms(), why }
}

/// A user's name as `/etc/passwd` has it; else the number, which no environment variable can pretend.
fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&users, uid).unwrap_or_else(|| format!("uid {uid}"))
}

fn name_in(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_that_of_the_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_in(users, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(users, 7), None);
        assert!(!operator(None).who.is_empty());
    }
}
