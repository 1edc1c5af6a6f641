//! The limit on open files: each guarded interface takes some.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The number of files that a node with 250 pods needs, with a margin.
const NEEDED: rlim_t = 4096;

/// Raises the limit to the one that the system allows.
pub(super) fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(limit) if limit < NEEDED => tracing::warn!(
            "at most {limit} files may be open: raise the container runtime's limit (LimitNOFILE) to \
             {NEEDED}, or interfaces may stay unguarded on a full node"
        ),
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!("cannot raise the limit on open files: {error}"),
    }
}

/// The number of files that may be open.
pub(super) fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
        raise_limit();
        assert_eq!(limit(), hard);
    }
}
