// SPDX-License-Identifier: GPL-2.0-or-later
//! The truth program in Rust, its allocator a static jemalloc (_rjem_...): the same
//! protocol and names as ../hold.c, which says what the commands are. Its own
//! book-keeping is in memory from mmap, so that all that is under caller_a and
//! caller_b is in the truth.

use std::alloc::Layout;
use std::io::{BufRead, Write};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// std::hint::black_box is too new for the Rust of Debian 12.
#[inline(always)]
fn black_box<T>(x: T) -> T {
    unsafe { std::arch::asm!("/* {0} */", in(reg) &x, options(nostack)) }
    x
}

const MAX_SITES: usize = 64;
const CALLERS: [&str; 2] = ["caller_a", "caller_b"];

/// What is held: memory that Rust owners were leaked to, as (pointer, layout).
#[derive(Clone, Copy)]
struct Record {
    pointer: *mut u8,
    layout: Layout,
    caller: u8,
    site: u8,
    generation: u32,
    live: bool,
}

struct Books {
    records: &'static mut [std::mem::MaybeUninit<Record>],
    n: usize,
    generation: u32,
    freed_older: u64,
}

extern "C" {
    fn _rjem_mallctl(
        name: *const u8,
        old: *mut u64,
        old_len: *mut usize,
        new: *const u64,
        new_len: usize,
    ) -> i32;
    fn mmap(at: *mut u8, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
}

impl Books {
    fn new() -> Books {
        const MAX: usize = 4 << 20;
        let bytes = MAX * std::mem::size_of::<Record>();
        // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        let at = unsafe { mmap(std::ptr::null_mut(), bytes, 3, 0x4022, -1, 0) };
        assert!(at as isize != -1, "mmap");
        Books {
            records: unsafe { std::slice::from_raw_parts_mut(at.cast(), MAX) },
            n: 0,
            generation: 0,
            freed_older: 0,
        }
    }

    fn keep(&mut self, v: &Visit, site: u8, pointer: *mut u8, layout: Layout) {
        self.records[self.n].write(Record {
            pointer,
            layout,
            caller: v.caller,
            site,
            generation: self.generation,
            live: true,
        });
        self.n += 1;
    }

    fn keep_vec<T>(&mut self, v: &Visit, site: u8, vec: Vec<T>) {
        let mut vec = std::mem::ManuallyDrop::new(vec);
        let layout = Layout::array::<T>(vec.capacity()).unwrap();
        self.keep(v, site, vec.as_mut_ptr().cast(), layout);
    }

    fn free(&mut self, percent: u64) {
        let mut due = 0;
        for i in 0..self.n {
            let r = unsafe { self.records[i].assume_init_mut() };
            if !r.live {
                continue;
            }
            due += percent;
            if due < 100 {
                continue;
            }
            due -= 100;
            r.live = false;
            if r.generation != self.generation {
                self.freed_older += r.layout.size() as u64;
            }
            unsafe { std::alloc::dealloc(r.pointer, r.layout) };
        }
    }

    fn truth(&self) -> String {
        let mut sums = [[(0u64, 0u64); MAX_SITES]; 2];
        let mut all = (0u64, 0u64);
        for r in self.records[..self.n].iter().map(|r| unsafe { r.assume_init_ref() }) {
            if r.live && r.generation == self.generation {
                let sum = &mut sums[r.caller as usize][r.site as usize];
                *sum = (sum.0 + r.layout.size() as u64, sum.1 + 1);
                all = (all.0 + r.layout.size() as u64, all.1 + 1);
            }
        }
        let mut sites = Vec::new();
        for (caller, row) in CALLERS.iter().zip(sums.iter()) {
            for (site, (bytes, count)) in row.iter().enumerate().filter(|(_, s)| s.1 > 0) {
                sites.push(format!(
                    "\"{caller};site_{site:02}\": {{\"bytes\": {bytes}, \"count\": {count}}}"
                ));
            }
        }
        format!(
            "{{\"sites\": {{{}}}, \"held_bytes\": {}, \"held_count\": {}, \
             \"freed_older_bytes\": {}, \"caught\": 0}}",
            sites.join(", "), all.0, all.1, self.freed_older
        )
    }
}

struct Visit {
    caller: u8,
    extra: usize,
}

// Symbols without mangling, and no frame that the compiler may drop: the last
// thing in each is not a call.
macro_rules! site {
    ($name:ident, $books:ident, $visit:ident, $body:block) => {
        #[no_mangle]
        #[inline(never)]
        extern "C" fn $name($books: &mut Books, $visit: &Visit) {
            $body
            black_box(&$visit);
        }
    };
}

site!(site_01, books, v, {
    books.keep_vec(v, 1, Vec::<u8>::with_capacity(144 + v.extra));
});
// zeroed: calloc or mallocx with a flag
site!(site_02, books, v, {
    books.keep_vec(v, 2, black_box(vec![0u8; 96 + v.extra]));
});
// grows
site!(site_03, books, v, {
    let mut a = Vec::new();
    for i in 0..1000 + v.extra {
        a.push(i);
    }
    books.keep_vec(v, 3, black_box(a));
});
// grows inside its block, where the size class allows
site!(site_04, books, v, {
    let mut a = Vec::<u8>::with_capacity(1001 + v.extra);
    a.resize(1001 + v.extra, 1);
    a.reserve_exact(3);
    books.keep_vec(v, 4, black_box(a));
});
// shrinks
site!(site_05, books, v, {
    let mut a = Vec::<u8>::with_capacity(4000 + v.extra);
    a.resize(100 + v.extra, 1);
    a.shrink_to_fit();
    books.keep_vec(v, 5, black_box(a));
});
// aligned
site!(site_09, books, v, {
    let layout = Layout::from_size_align(8192 + v.extra, 4096).unwrap();
    books.keep(v, 9, unsafe { std::alloc::alloc(layout) }, layout);
});
// aligned and zeroed, then resized: mallocx and rallocx
site!(site_10, books, v, {
    let layout = Layout::from_size_align(192 + v.extra, 64).unwrap();
    let larger = Layout::from_size_align(1920 + v.extra, 64).unwrap();
    let p = unsafe { std::alloc::alloc_zeroed(layout) };
    let p = unsafe { std::alloc::realloc(black_box(p), layout, larger.size()) };
    books.keep(v, 10, p, larger);
});
site!(site_14, books, v, {
    let s = format!("a string of {} bytes or so", 48 + v.extra);
    books.keep_vec(v, 14, s.into_bytes());
});
site!(site_16, books, v, {
    books.keep_vec(v, 16, Vec::<u8>::with_capacity(300000 + v.extra));
});
// everything of this is freed at once
site!(site_20, books, v, {
    black_box(vec![1u8; 100 + v.extra]);
    black_box(Box::new([0u64; 100]));
    black_box(vec![0u8; 5000]);
    black_box(&books.n);
});
site!(site_30, books, v, {
    let layout = Layout::new::<[u8; 120]>();
    let p = Box::into_raw(Box::new([v.caller; 120]));
    books.keep(v, 30, black_box(p).cast(), layout);
});
site!(site_36, books, v, {
    let mut a: Vec<Box<u64>> = Vec::with_capacity(8);
    for i in 0..8 {
        a.push(Box::new(i));
    }
    for b in a.drain(..) {
        let p = Box::into_raw(b);
        books.keep(v, 36, p.cast(), Layout::new::<u64>());
    }
    books.keep_vec(v, 36, a);
});

fn every_site(books: &mut Books, v: &Visit, i: usize) {
    site_01(books, v);
    site_02(books, v);
    site_03(books, v);
    site_04(books, v);
    site_05(books, v);
    site_09(books, v);
    site_10(books, v);
    site_14(books, v);
    if i % 10 == 0 {
        site_16(books, v);
    }
    site_20(books, v);
    site_30(books, v);
    site_36(books, v);
}

#[no_mangle]
#[inline(never)]
extern "C" fn caller_a(books: &mut Books, n: usize) {
    for i in 0..n {
        every_site(books, &Visit { caller: 0, extra: 0 }, i);
    }
    black_box(&books.n);
}

#[no_mangle]
#[inline(never)]
extern "C" fn caller_b(books: &mut Books, n: usize) {
    for i in 0..n {
        every_site(books, &Visit { caller: 1, extra: 16 }, i);
    }
    black_box(&books.n);
}

#[no_mangle]
#[inline(never)]
extern "C" fn spin_site(n: usize) {
    for i in 0..n {
        black_box(Vec::<u8>::with_capacity(16 + (i & 255)));
    }
}

fn spin(ms: u64) -> String {
    let start = std::time::Instant::now();
    let mut pairs = 0;
    while start.elapsed().as_millis() < ms as u128 {
        spin_site(1000);
        pairs += 1000;
    }
    format!(" {pairs} {}", start.elapsed().as_nanos())
}

/// What jemalloc itself reports, as `"name": value, ...`. The names are C strings.
fn stats() -> String {
    const NAMES: [&str; 6] = [
        "stats.allocated\0",
        "stats.active\0",
        "stats.mapped\0",
        "stats.retained\0",
        "stats.arenas.4096.tcache_bytes\0",
        "stats.arenas.4096.pdirty\0",
    ];
    let mut values = [0u64; NAMES.len()];
    let (epoch, mut len) = (1u64, 8usize);
    unsafe {
        _rjem_mallctl("epoch\0".as_ptr(), &mut values[0], &mut len, &epoch, 8);
        for (name, value) in NAMES.iter().zip(values.iter_mut()) {
            len = 8;
            assert_eq!(_rjem_mallctl(name.as_ptr(), value, &mut len, std::ptr::null(), 0), 0);
        }
    }
    let pairs = NAMES.iter().zip(values.iter());
    let text: Vec<String> =
        pairs.map(|(n, v)| format!("\"{}\": {v}", n.trim_end_matches('\0'))).collect();
    format!(" {{{}}}", text.join(", "))
}

fn main() {
    let mut books = Books::new();
    let mut line = String::with_capacity(4096);
    let mut input = std::io::stdin().lock();
    println!("ready");
    loop {
        line.clear();
        if input.read_line(&mut line).unwrap() == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or("");
        let n: u64 = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        let mut answer = String::new();
        match command {
            "warm" | "go" => {
                caller_a(&mut books, n as usize);
                caller_b(&mut books, n as usize);
            }
            "mark" => {
                books.generation += 1;
                books.freed_older = 0;
            }
            "free" => books.free(n),
            "truth" => answer = format!(" {}", books.truth()),
            "stats" => answer = stats(),
            "spin" => answer = spin(n),
            "sleep" => std::thread::sleep(std::time::Duration::from_millis(n)),
            "quit" => {
                println!("ok");
                return;
            }
            _ => {
                println!("unknown command");
                continue;
            }
        }
        println!("ok{answer}");
        std::io::stdout().flush().unwrap();
    }
}
