// SPDX-License-Identifier: GPL-2.0-or-later
//! A service with three caches, as a team on call has it: nothing in it knows of a
//! profiler. Commands on standard input, answered by one line each:
//!	fill sessions|images|index COUNT SIZE   "filled BYTES"   held by that cache now
//!	drop sessions|images|index              "dropped BYTES"
use std::io::{BufRead, Write};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Cache = Vec<Box<[u8]>>;

/// A copy for each cache, and none is like another: the linker would keep one.
#[inline(always)]
fn blocks<const MARK: u8>(cache: &mut Cache, count: usize, size: usize) {
    for _ in 0..count {
        cache.push(vec![MARK; size].into_boxed_slice());
    }
}

#[inline(never)]
fn remember_session(cache: &mut Cache, count: usize, size: usize) {
    blocks::<1>(cache, count, size);
}

#[inline(never)]
fn decode_image(cache: &mut Cache, count: usize, size: usize) {
    blocks::<2>(cache, count, size);
}

#[inline(never)]
fn build_index(cache: &mut Cache, count: usize, size: usize) {
    blocks::<3>(cache, count, size);
}

fn held(cache: &Cache) -> usize {
    cache.iter().map(|b| b.len()).sum()
}

fn main() {
    // room enough that no cache's own table grows while somebody looks
    let mut caches: [Cache; 3] = std::array::from_fn(|_| Vec::with_capacity(1 << 16));
    let fill = [remember_session, decode_image, build_index];
    let names = ["sessions", "images", "index"];
    let mut out = std::io::stdout();
    writeln!(out, "ready {}", std::process::id()).unwrap();
    out.flush().unwrap();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let k = names.iter().position(|n| *n == words[1]).unwrap();
        if words[0] == "fill" {
            fill[k](&mut caches[k], words[2].parse().unwrap(), words[3].parse().unwrap());
            writeln!(out, "filled {}", held(&caches[k])).unwrap();
        } else {
            let bytes = held(&caches[k]);
            caches[k].clear();
            writeln!(out, "dropped {bytes}").unwrap();
        }
        out.flush().unwrap();
    }
}
