//! The agent's heap: what a long reply took goes back to the system. Knows nothing of who uses it.

/// glibc raises the size from which a block has a mapping of its own to that of the largest one freed, up to
/// 32 MiB: after one long reply, the next ones would stay on the heap for ever. Setting the size ends that.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes numbers and touches only the allocator's own, under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024);
    }
}

/// Gives free pages in the middle of the heap back too, which the allocator keeps by itself: after a scan of all jobs.
pub(super) fn return_free_pages() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches only the allocator's own, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
