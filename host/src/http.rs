//! The part of HTTP that serving one page takes (RFC 9110, 9112): a request's head in, a response
//! out, and the connection is closed.
//!
//! httparse reads the head. Not tiny_http: its accept loop bounds neither clients nor their time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Bytes of a request's head at most.
const MAX_HEAD: usize = 8 << 10;

/// Headers of a request at most.
const MAX_HEADERS: usize = 64;

/// The parts of a request that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, as it was sent.
    pub method: String,
    /// The path, without what follows a `?`.
    pub path: String,
    /// The accepted types: the values of all Accept headers, with commas between them.
    pub accept: String,
}

impl Request {
    fn of(parsed: &httparse::Request<'_, '_>) -> Option<Self> {
        let accepts = parsed.headers.iter();
        let accepts = accepts
            .filter(|header| header.name.eq_ignore_ascii_case("accept"))
            .map(|header| String::from_utf8_lossy(header.value));
        Some(Self {
            method: parsed.method?.to_owned(),
            path: path_of(parsed.path?).to_owned(),
            accept: accepts.collect::<Vec<_>>().join(","),
        })
    }

    /// The client's weight for `kind`, for example `text/plain`, from 0 to 1000. `None` when only a
    /// range for any type covers it, or none.
    pub fn wants(&self, kind: &str) -> Option<u32> {
        let (group, _) = kind.split_once('/')?;
        let group = format!("{group}/*");
        // The most specific range applies (RFC 9110, 12.5.1).
        let wanted = |range: &str| {
            let named = self.accept.split(',').filter_map(|item| {
                let mut parts = item.split(';').map(str::trim);
                let named = parts.next()?.eq_ignore_ascii_case(range);
                named.then(|| quality(parts))
            });
            named.max()
        };
        wanted(kind).or_else(|| wanted(&group))
    }
}

/// The weight of a range, in thousandths; 0 if it is invalid.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u32 {
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    match weight.map(str::parse::<f64>) {
        None => 1000,
        Some(Ok(weight @ 0.0..=1.0)) => (weight * 1000.0) as u32,
        Some(_) => 0,
    }
}

/// The path in a request's target: `/metrics?x`, or the same behind `http://host:port`.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    match path.split('?').next() {
        Some("") | None => "/",
        Some(path) => path,
    }
}

/// Reads a request's head within `patience`; `None` when it is invalid or too long.
///
/// # Errors
/// When the client takes longer, or is gone.
pub fn read_request(stream: &mut TcpStream, patience: Duration) -> io::Result<Option<Request>> {
    let until = Instant::now() + patience;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < MAX_HEAD {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part)? {
            0 => return Ok(None),
            len => head.extend_from_slice(&part[..len]),
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => return Ok(Request::of(&request)),
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Number and reason.
    pub status: &'static str,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// The allowed methods, if the request's is not.
    pub allow: Option<&'static str>,
}

impl Response {
    /// Writes it; a HEAD gets all but the body.
    ///
    /// # Errors
    /// When the client does not read it.
    pub fn write(&self, stream: &mut TcpStream, head_only: bool) -> io::Result<()> {
        let Self {
            status,
            content_type,
            body,
            ..
        } = self;
        let allow = self
            .allow
            .map_or(String::new(), |allow| format!("Allow: {allow}\r\n"));
        let len = body.len();
        let body = if head_only { "" } else { body };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\n{allow}\
             Vary: Accept\r\nConnection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_path() {
        for (target, path) in [
            ("/metrics", "/metrics"),
            ("/metrics?name[]=x", "/metrics"),
            ("http://127.0.0.1:9100/metrics", "/metrics"),
            ("HTTP://[::1]/metrics?a=/b", "/metrics"),
            ("http://host", "/"),
            ("http://host?x", "/"),
            ("/go?to=http://host/metrics", "/go"),
            ("*", "*"),
            ("?", "/"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    #[test]
    fn the_most_exact_range_counts() {
        let wants = |accept: &str, kind: &str| {
            let request = Request {
                method: "GET".to_owned(),
                path: "/".to_owned(),
                accept: accept.to_owned(),
            };
            request.wants(kind)
        };
        for (accept, weight) in [
            ("", None),
            ("*/*", None),
            ("text/plain", Some(1000)),
            ("TEXT/Plain ; version=0.0.4; Q=0.3", Some(300)),
            ("text/*;q=0.5, text/plain;q=0", Some(0)),
            ("text/*;q=0.5", Some(500)),
            ("text/plain;q=0.1, text/plain;version=0.0.4", Some(1000)),
            ("text/plain;q=much", Some(0)),
            ("text/plainer, application/json", None),
        ] {
            assert_eq!(wants(accept, "text/plain"), weight, "{accept}");
        }
    }
}
