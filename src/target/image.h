/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Memory that stands still, whatever it is of: a core file, a copy of a process
 * (inject/snapshot.h), a stopped process, or one that runs. Segments with their
 * files, bytes, threads with registers.
 *
 * The surprising rule: what is not in a core is not zero. Read-only parts of
 * files, which kernels and debuggers leave out, come from the files themselves if
 * their build-id is the right one; anything else that is missing reads as
 * -ENODATA and is counted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "target/elf_file.h"
#include "target/registers.h"
#include "target/target.h"

enum image_kind { IMAGE_CORE, IMAGE_PROCESS };

struct image_segment {
	uint64_t start, end;
	unsigned prot;        /* enum maps_prot; a core does not know about MAPS_SHARED */
	const char *path;     /* file behind it, as the process saw it; "" */
	uint64_t file_offset; /* in that file */
	uint64_t bytes;       /* from start, how many are in the core itself (of a process: all) */
	uint64_t core_offset; /* where those are in the core */
};

enum { IMAGE_REGISTERS = REGISTERS_DWARF };
struct image_thread {
	pid_t tid;
	uint64_t regs[IMAGE_REGISTERS]; /* registers_by_dwarf() */
	uint64_t pc, sp, bp, tls;       /* bp: frame pointer; tls: fs base */
};

struct image_options {
	const char *exe;     /* of a core: the program; NULL: found by path and build-id */
	const char *sysroot; /* where files of a core are looked for; NULL: "/" */
};

struct image;

/* A core: kernel's, gcore's, GOTRACEBACK=crash; plain, or compressed (zstd, gzip, lz4: unpacked
 * into an unlinked file in $TMPDIR, sparse). -ENOEXEC not a core, -ENOTSUP 32-bit or another
 * machine than ours, -EMEDIUMTYPE an exe that does not match (build-id). A truncated core opens;
 * image_missing() says how much is gone. */
int image_open_core(const char *path, const struct image_options *o, struct image **ret,
                    struct error *err);
/* The memory of a process: a snapshot's copy, or one that is stopped, or one that runs (then it
 * does not stand still). @t must live as long. Threads are those given (copied). */
int image_open_process(const struct target *t, const struct image_thread *threads, size_t n,
                       struct image **ret, struct error *err);
struct image *image_close(struct image *i); /* NULL is fine; returns NULL */
void image_closep(struct image **i);

enum image_kind image_kind(const struct image *i);
const char *image_name(const struct image *i); /* for messages */
/* Of a core: the process's id, name and the signal that ended it (0: none). */
pid_t image_pid(const struct image *i);
const char *image_comm(const struct image *i);
int image_signal(const struct image *i);

size_t image_n_segments(const struct image *i);
const struct image_segment *image_segment(const struct image *i, size_t n);   /* by address */
const struct image_segment *image_find(const struct image *i, uint64_t addr); /* NULL: none */
size_t image_n_threads(const struct image *i);
const struct image_thread *image_thread(const struct image *i, size_t n);
/* What @regs say of thread @tid. */
struct image_thread image_thread_of(pid_t tid, const struct user_regs_struct *regs);

/* Exactly @len bytes: 0, -EFAULT not mapped, -ENODATA not there. No message. A page of a process
 * that was never touched reads as zeros without being touched. */
int image_read(struct image *i, uint64_t addr, void *buf, size_t len);
/* The 8 or 4 bytes at @addr; 0 when they are not there. */
uint64_t image_uint64(struct image *i, uint64_t addr);
uint32_t image_uint32(struct image *i, uint64_t addr);
/* The same for what is not needed again: nothing is kept of it. */
int image_copy(struct image *i, uint64_t addr, void *buf, size_t len);
/* A pointer to @len bytes that stay as long as the image (cores are mapped, processes copied in
 * large pieces, each piece once); NULL when they are not all there or not in one segment. */
const void *image_at(struct image *i, uint64_t addr, size_t len);
/* Bytes that should be in the core (by its headers) and are not: truncated. */
uint64_t image_missing(const struct image *i);
/* What image_at() has copied so far. */
uint64_t image_copied(const struct image *i);

/* The process that it is of, or whose copy; NULL: a core. */
const struct target *image_target(const struct image *i);
/* The program's file, and where it is mapped (bias). NULL and why in @err. */
struct elf_file *image_exe(struct image *i, uint64_t *bias, struct error *err);
/* The ELF file that is mapped at @addr: the program or a library. Of a core it is the one of that
 * path, if no build-id says otherwise. Lives as long as the image; NULL and why in @err. */
struct elf_file *image_file(struct image *i, uint64_t addr, uint64_t *bias, struct error *err);
/* Of a core whose program image_exe() has given: do build-ids in both say that it is the very one?
 * False: the core has none. */
bool image_exe_is_proven(const struct image *i);
