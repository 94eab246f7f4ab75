//! The request that creates a job and uploads its rows at once: two parts, `job` and `content`.

/// Characters of such a request, at most.
const CHARS_MAX: usize = 100_000;

/// The boundary of a multipart content type.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let found = rest.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(found.trim_matches('"').to_owned())
}

/// Finds the job's JSON and the rows.
///
/// # Errors
/// What is wrong with the request.
pub fn read<'b>(body: &'b [u8], boundary: &str) -> Result<(&'b [u8], &'b [u8]), String> {
    if body.len() > CHARS_MAX && String::from_utf8_lossy(body).chars().count() > CHARS_MAX {
        return Err(format!("a multipart request has at most {CHARS_MAX} characters"));
    }
    let (mut job, mut content) = (None, None);
    let mark = format!("--{boundary}");
    let mut starts = memchr::memmem::find_iter(body, mark.as_bytes()).map(|at| at + mark.len());
    let mut from = starts.next().ok_or("the boundary is missing")?;
    for next in starts {
        let part = &body[from..next - mark.len()];
        from = next;
        let (head, rest) = split(part).ok_or("a part has no headers")?;
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        // The line break before the next boundary belongs to the boundary.
        let rest = rest.strip_suffix(b"\r\n").or(rest.strip_suffix(b"\n")).unwrap_or(rest);
        match () {
            () if head.contains("name=\"job\"") || head.contains("name=job") => job = Some(rest),
            () if head.contains("name=\"content\"") || head.contains("name=content") => content = Some(rest),
            () => {}
        }
    }
    Ok((job.ok_or("the part 'job' is missing")?, content.ok_or("the part 'content' is missing")?))
}

/// Headers and what follows the blank line.
fn split(part: &[u8]) -> Option<(&[u8], &[u8])> {
    for blank in [&b"\r\n\r\n"[..], b"\n\n"] {
        if let Some(at) = memchr::memmem::find(part, blank) {
            return Some((&part[..at], &part[at + blank.len()..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_found_and_their_content_keeps_its_line_breaks() {
        let body = "--BOUND\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n\
                    {\"operation\":\"insert\"}\r\n--BOUND\r\nContent-Type: text/csv\r\n\
                    Content-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\r\nName\nA\nB\n\r\n--BOUND--\r\n";
        let (job, content) = read(body.as_bytes(), "BOUND").unwrap();
        assert_eq!((job, content), (&b"{\"operation\":\"insert\"}"[..], &b"Name\nA\nB\n"[..]));
        assert!(read(b"--BOUND\r\n\r\n--BOUND--", "BOUND").is_err());
        assert_eq!(boundary("multipart/form-data; charset=utf-8; boundary=\"BOUND\"").as_deref(), Some("BOUND"));
        assert_eq!(boundary("text/csv"), None);
        let long = format!("--B\r\n\r\n{}\r\n--B--", "x".repeat(CHARS_MAX));
        assert!(read(long.as_bytes(), "B").unwrap_err().contains("100000"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in "(--B|\r\n|\n|name=\"job\"|name=\"content\"|-|x|:){0,30}") {
            let _ = read(body.as_bytes(), "B");
        }
    }
}
