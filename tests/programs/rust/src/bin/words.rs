// SPDX-License-Identifier: GPL-2.0-or-later
//! Work as programs in Rust do it, for the benchmarks: an index of the words of made-up
//! documents (strings, a hash map, growing vectors), built and dropped again. Commands on
//! standard input, answered by one line each:
//!	index DOCUMENTS		"WORDS POSTINGS"
use std::collections::HashMap;
use std::io::{BufRead, Write};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Two hundred words; short ones are more frequent.
fn document(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..200 {
        let rank = random.next() % (1 + random.next() % 5000);
        text.push_str(&format!("{:x}{} ", rank * 2654435761 % 65536, rank));
    }
    text
}

fn index(documents: u32) -> (usize, usize) {
    let mut random = Random(88172645463325252);
    let mut words: HashMap<String, Vec<u32>> = HashMap::new();
    for number in 0..documents {
        for word in document(&mut random).split_whitespace() {
            words.entry(word.to_lowercase()).or_default().push(number);
        }
    }
    (words.len(), words.values().map(|v| v.len()).sum())
}

fn main() {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("input");
        let mut parts = line.split(' ');
        assert_eq!(parts.next(), Some("index"));
        let (words, postings) = index(parts.next().unwrap().parse().expect("documents"));
        println!("{words} {postings}");
        std::io::stdout().flush().expect("output");
    }
}
