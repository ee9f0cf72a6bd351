//! Who a job's programs run as: the image's user, as ids.

use crate::environment::WORK;
use crate::executor::{SandboxError, User};
use crate::job::Job;

/// Largest `/etc/passwd` that is read.
const PASSWD_BYTES: u64 = 1 << 20;

impl Job<'_> {
    /// Looks up the image's user; unset is root.
    pub(crate) fn find_user(&mut self) -> Result<(), SandboxError> {
        let asked = self
            .order
            .image
            .as_ref()
            .map_or("", |i| i.user.as_str())
            .trim();
        if matches!(asked, "" | "0" | "root" | "0:0" | "root:root") {
            return Ok(());
        }
        let passwd = self
            .sandbox()
            .read_file("/etc/passwd", PASSWD_BYTES)?
            .unwrap_or_default();
        let passwd = String::from_utf8_lossy(&passwd);
        let (user, home) = find(asked, &passwd).ok_or_else(|| SandboxError::File {
            what: "looking up the image's user in",
            path: "/etc/passwd".to_owned(),
            reason: format!("'{asked}' is not there; name it by number in the image"),
        })?;
        self.user = user;
        if let Some(home) = home
            && self.image_env.get("HOME").is_none()
        {
            self.image_env.set("HOME", &home);
        }
        // A sandbox may come with the folder, as root's.
        self.sandbox().remove(WORK)?;
        self.sandbox().mkdir(WORK, 0o777, User::default())
    }
}

/// The ids and the home of `user`, `user:group`, `uid` or `uid:gid`.
fn find(asked: &str, passwd: &str) -> Option<(User, Option<String>)> {
    let (name, group) = asked.split_once(':').unwrap_or((asked, ""));
    let mut entries = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|f| f.len() >= 6 && (f[0] == name || f[2] == name));
    let number = |text: &str| text.parse::<u32>().ok();
    let uid = number(name).or_else(|| number(entry.as_ref()?[2]))?;
    let gid = number(group)
        .or_else(|| number(entry.as_ref()?[3]))
        .unwrap_or(uid);
    Some((User { uid, gid }, entry.map(|f| f[5].to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nci:x:1001:1002::/home/ci:/bin/sh\n";

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let user = |uid, gid| User { uid, gid };
        assert_eq!(
            find("ci", PASSWD),
            Some((user(1001, 1002), Some("/home/ci".to_owned())))
        );
        assert_eq!(
            find("1001", PASSWD),
            Some((user(1001, 1002), Some("/home/ci".to_owned())))
        );
        assert_eq!(find("1001:7", PASSWD).unwrap().0, user(1001, 7));
        assert_eq!(find("5000:6000", PASSWD), Some((user(5000, 6000), None)));
        assert_eq!(find("nobody-here", PASSWD), None);
    }
}
