//! A URL taken apart and put together without changing a byte of what stays.

/// The pieces of an absolute URL, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Url<'u> {
    pub(crate) scheme: &'u str,
    pub(crate) userinfo: Option<&'u str>,
    /// With the brackets of an IPv6 address.
    pub(crate) host: &'u str,
    pub(crate) port: Option<&'u str>,
    pub(crate) path: &'u str,
    pub(crate) query: Option<&'u str>,
    pub(crate) fragment: Option<&'u str>,
}

impl<'u> Url<'u> {
    /// `None` if there is no scheme and authority.
    pub(crate) fn split(url: &'u str) -> Option<Url<'u>> {
        let (scheme, rest) = url.split_once("://")?;
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, authority),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        Some(Url {
            scheme,
            userinfo,
            host,
            port,
            path,
            query,
            fragment,
        })
    }

    /// The other way round; `split` and `join` give the same text.
    pub(crate) fn join(&self) -> String {
        let mut out = format!("{}://", self.scheme);
        if let Some(userinfo) = self.userinfo {
            out.extend([userinfo, "@"]);
        }
        out.push_str(self.host);
        if let Some(port) = self.port {
            out.extend([":", port]);
        }
        out.push_str(self.path);
        if let Some(query) = self.query {
            out.extend(["?", query]);
        }
        if let Some(fragment) = self.fragment {
            out.extend(["#", fragment]);
        }
        out
    }

    /// The port that the scheme means when none is written.
    pub(crate) fn default_port(&self) -> &'static str {
        if self.scheme.eq_ignore_ascii_case("http") {
            "80"
        } else {
            "443"
        }
    }

    /// With the default port written out, or without a port if one is written.
    pub(crate) fn toggle_port(self) -> Url<'u> {
        let port = if self.port.is_none() {
            Some(self.default_port())
        } else {
            None
        };
        Url { port, ..self }
    }
}

/// The URL up to its query and fragment.
pub(crate) fn without_query(url: &str) -> &str {
    cut(cut(url, '#').0, '?').0
}

/// The URL up to its fragment.
pub(crate) fn without_fragment(url: &str) -> &str {
    cut(url, '#').0
}

/// The query of a URL, without the `?`.
pub(crate) fn query(url: &str) -> Option<&str> {
    cut(cut(url, '#').0, '?').1
}

fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_same_text_again() {
        for url in [
            "https://h",
            "https://h/?",
            "https://u:p@h:8443/a//b/../c?x=1?y#f#g",
            "http://[::1]:3000/p",
            "http://[::1]/p?u=a:b@c/d",
        ] {
            assert_eq!(Url::split(url).unwrap().join(), url);
        }
        let url = Url::split("http://u@[::1]:3000/p?u=a:b@c/d").unwrap();
        assert_eq!(
            (url.userinfo, url.host, url.port),
            (Some("u"), "[::1]", Some("3000"))
        );
        assert_eq!(Url::split("/p"), None);
    }
}
