//! A preprocess plugin whose allocator is the crate `dlmalloc`, which has a heap beside that of wasi-libc.

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

own_allocator::export!();
