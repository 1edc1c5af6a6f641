//! Version numbers.

/// The first three numbers of a version; they compare as versions do.
pub(crate) type Version = [u32; 3];

/// Reads `5.10.0-46-cloud-amd64`, `22.1` and the like; missing numbers are 0.
pub(crate) fn parse(text: &str) -> Option<Version> {
    let numbers = text.trim().split(['-', '+', '~']).next()?;
    let mut version = Version::default();
    for (place, number) in version.iter_mut().zip(numbers.split('.')) {
        *place = number.parse().ok()?;
    }
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn versions_are_compared_number_by_number() {
        assert!(parse("0.10.3") > parse("0.9.15"));
        assert_eq!(parse("22.1"), Some([22, 1, 0]));
        assert_eq!(parse("5.10.0-46-cloud-amd64"), Some([5, 10, 0]));
        assert_eq!(parse("x.1"), None);
    }
}
