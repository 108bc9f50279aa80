//! Names with wildcards: `db*`, `web?`.

/// `*` is any text, `?` one letter. The case of letters does not matter.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(super) written: String,
    signs: Vec<char>,
}

impl Pattern {
    pub(super) fn of(written: String) -> Self {
        let signs = written.to_lowercase().chars().collect();
        Self { written, signs }
    }

    /// Host names are given whole or short.
    pub(super) fn is_of_host(&self, hostname: &str) -> bool {
        let short = hostname.split_once('.').map(|(short, _)| short);
        self.matches(hostname) || short.is_some_and(|short| self.matches(short))
    }

    /// Of several `*`, only the last one is tried anew: so it takes no longer than the name times the pattern.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.to_lowercase().chars().collect();
        let (mut sign, mut at) = (0, 0);
        let mut again = None;
        while let Some(letter) = name.get(at) {
            match self.signs.get(sign) {
                Some('*') => {
                    sign += 1;
                    again = Some((sign, at));
                }
                Some(it) if *it == '?' || it == letter => {
                    sign += 1;
                    at += 1;
                }
                _ => {
                    let Some((after, from)) = again else {
                        return false;
                    };
                    (sign, at) = (after, from + 1);
                    again = Some((sign, at));
                }
            }
        }
        let mut rest = self.signs.iter().skip(sign);
        rest.all(|it| *it == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_the_whole_host_name_or_its_first_label() {
        for (pattern, hosts) in [
            ("db*", &["db1", "DB1.dc1", "db"][..]),
            ("WEB?", &["web1", "Web2.dc1"]),
            ("*1", &["db1", "db1.dc2", "db21", "x.y1"]),
            ("*.dc1", &["db1.dc1"]),
            ("a*b*c", &["abc", "axbxbc", "abbcc.dc1"]),
            ("\u{fc}?[*", &["\u{fc}a[", "\u{dc}a[b"]),
            ("**", &["", "x"]),
        ] {
            let is_of = |host: &&&str| !Pattern::of(pattern.to_owned()).is_of_host(host);
            assert_eq!(hosts.iter().find(is_of), None, "{pattern}");
        }
        for (pattern, host) in [
            ("db?", "db"),
            ("db?", "db12"),
            ("*1", "db2.dc1x"),
            ("db*", "xdb1"),
            ("?", ""),
            ("a*b*c", "acb"),
            ("*.dc1", "dc1"),
        ] {
            assert!(
                !Pattern::of(pattern.to_owned()).is_of_host(host),
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn many_wildcards_take_no_longer_than_the_name_times_the_pattern() {
        let pattern = Pattern::of("*a".repeat(500) + "b");
        assert!(!pattern.matches(&"a".repeat(1000)));
    }
}
