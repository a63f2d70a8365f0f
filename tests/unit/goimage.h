/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A picture of what Go 1.26 leaves in a program's memory, with two functions, an
 * inlined one, two buckets of the heap profile, as one segment of a core. For the
 * unit test and as the fuzzer's seed.
 */

#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/go/go_machine.h"
#include "runtime/go/go_module.h"
#include "target/image.h"
#include "target/registers.h"

enum {
	GOIMAGE_BYTES = 0x3400,
	GOIMAGE_FUNCTIONS = 0x1000,
	GOIMAGE_NAMES = 0x1400,
	GOIMAGE_PCS = 0x1800,
	GOIMAGE_FTAB = 0x1b00,
	GOIMAGE_UNITS = 0x1c00,
	GOIMAGE_FILES = 0x1d00,
	GOIMAGE_GOFUNC = 0x1e00,
	GOIMAGE_DATA = 0x2000,
	GOIMAGE_LIST = 0x2110,
	GOIMAGE_BUCKETS = 0x2400, /* 0x200 each */
	GOIMAGE_TEXT = 0x3000,    /* 0x100 each function */
};
#define GOIMAGE_BASE 0x10000ull

static inline void goimage_word(uint8_t *b, uint64_t at, uint64_t v)
{
	memcpy(b + at, &v, sizeof(v));
}

static inline void goimage_half(uint8_t *b, uint64_t at, uint32_t v)
{
	memcpy(b + at, &v, sizeof(v));
}

static inline void goimage_slice(uint8_t *b, uint64_t at, uint64_t to, uint64_t n)
{
	goimage_word(b, at, GOIMAGE_BASE + to);
	goimage_word(b, at + 8, n);
	goimage_word(b, at + 16, n);
}

static inline void goimage_module(uint8_t *b, const struct go_layout *l)
{
	goimage_slice(b, l->moduledata_funcnametab, GOIMAGE_NAMES, 0x400);
	goimage_slice(b, l->moduledata_cutab, GOIMAGE_UNITS, 1);
	goimage_slice(b, l->moduledata_filetab, GOIMAGE_FILES, 0x100);
	goimage_slice(b, l->moduledata_pctab, GOIMAGE_PCS, 0x40);
	goimage_slice(b, l->moduledata_pclntable, GOIMAGE_FUNCTIONS, 0x400);
	goimage_slice(b, l->moduledata_ftab, GOIMAGE_FTAB, 3);
	goimage_word(b, l->moduledata_text, GOIMAGE_BASE + GOIMAGE_TEXT);
	goimage_word(b, l->moduledata_etext, GOIMAGE_BASE + GOIMAGE_TEXT + 0x200);
	for (unsigned k = 0; k < 4; k++) {
		/* noptrdata, data, bss, noptrbss: 0x100 each */
		uint64_t at = l->moduledata_noptrdata + 16 * k;

		goimage_word(b, at, GOIMAGE_BASE + GOIMAGE_DATA + 0x100 * k);
		goimage_word(b, at + 8, GOIMAGE_BASE + GOIMAGE_DATA + 0x100 * (k + 1));
	}
	goimage_word(b, l->moduledata_gofunc, GOIMAGE_BASE + GOIMAGE_GOFUNC);
}

static inline void goimage_function(uint8_t *b, const struct go_layout *l, uint32_t k,
                                    uint32_t name)
{
	const uint32_t at = GOIMAGE_FUNCTIONS + 0x10 + 0x80 * k;

	goimage_half(b, GOIMAGE_FTAB + 8 * k, 0x100 * k);
	goimage_half(b, GOIMAGE_FTAB + 8 * k + 4, 0x10 + 0x80 * k);
	goimage_half(b, at + l->func_name, name);
	goimage_half(b, at + l->func_pcfile, 1);
	goimage_half(b, at + l->func_pcln, 5);
	goimage_half(b, at + l->func_npcdata, 3);
	b[at + l->func_nfuncdata] = 4;
	/* pcdata 2: which inlined call; funcdata 3: the calls */
	goimage_half(b, at + l->func_nfuncdata + 1 + 4 * 2, k ? 12 : 0);
	for (unsigned i = 0; i < 4; i++)
		goimage_half(b, at + l->func_nfuncdata + 1 + 12 + 4 * i, k && i == 3 ? 0 : ~0u);
}

static inline void goimage_bucket(uint8_t *b, unsigned k, uint64_t next, uint64_t size)
{
	const uint64_t at = GOIMAGE_BUCKETS + 0x200 * k, record = at + 48 + 2 * 8;

	goimage_word(b, at + 8, next);
	goimage_word(b, at + 16, 1);
	goimage_word(b, at + 24, 0x1234);
	goimage_word(b, at + 32, size);
	goimage_word(b, at + 40, 2);
	/* inside the inlined call, behind the other function's first half */
	goimage_word(b, at + 48, GOIMAGE_BASE + GOIMAGE_TEXT + 0x190);
	goimage_word(b, at + 56, GOIMAGE_BASE + GOIMAGE_TEXT + 0x110);
	goimage_word(b, record, 7);
	goimage_word(b, record + 8, 3);
	goimage_word(b, record + 16, 7 * size);
	goimage_word(b, record + 24, 3 * size);
}

static inline void goimage_make(uint8_t b[GOIMAGE_BYTES], const struct go_layout *l)
{
	static const char names[] = "\0runtime.profilealloc\0main.f[go.shape.int]\0main.inlined";
	/* file 0; line 10, from the middle on 20; no inlined call, then number 0 */
/* so many bytes of code, as a varint of two bytes */
#define STEP(n) 0x80 | ((n) / GO_MACHINE_PC_QUANTUM & 0x7f), (n) / GO_MACHINE_PC_QUANTUM >> 7
	static const uint8_t pcs[] = { 0,          2, STEP(0x100), 0,          22, STEP(0x80), 20,
		                       STEP(0x80), 0, 0,           STEP(0x80), 2,  STEP(0x80), 0 };
#undef STEP

	memset(b, 0, GOIMAGE_BYTES);
	goimage_module(b, l);
	memcpy(b + GOIMAGE_NAMES, names, sizeof(names));
	memcpy(b + GOIMAGE_PCS, pcs, sizeof(pcs));
	memcpy(b + GOIMAGE_FILES + 1, "/src/main.go", 13);
	goimage_half(b, GOIMAGE_UNITS, 1);
	goimage_half(b, GOIMAGE_GOFUNC + 4, 43);
	goimage_function(b, l, 0, 1);
	goimage_function(b, l, 1, 22);
	goimage_half(b, GOIMAGE_FTAB + 16, 0x200);
	goimage_word(b, GOIMAGE_LIST, GOIMAGE_BASE + GOIMAGE_BUCKETS);
	goimage_bucket(b, 0, GOIMAGE_BASE + GOIMAGE_BUCKETS + 0x200, 64);
	goimage_bucket(b, 1, 0, 4096);
}

/* A core with @bytes at GOIMAGE_BASE, and a segment that is cut off, as a core without threads
 * must be. */
static inline int goimage_open(const uint8_t *bytes, size_t size, struct image **ret,
                               struct error *err)
{
	struct {
		Elf64_Ehdr e;
		Elf64_Phdr p[2];
	} h = { 0 };
	const struct image_options o = { .exe = "/nonexistent" };
	cleanup_close int fd = memfd_create("core", MFD_CLOEXEC);
	char path[64];

	memcpy(h.e.e_ident, ELFMAG, SELFMAG);
	h.e.e_ident[EI_CLASS] = ELFCLASS64;
	h.e.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e.e_ident[EI_VERSION] = EV_CURRENT;
	h.e.e_type = ET_CORE;
	h.e.e_machine = REGISTERS_MACHINE;
	h.e.e_version = EV_CURRENT;
	h.e.e_phoff = sizeof(h.e);
	h.e.e_ehsize = sizeof(h.e);
	h.e.e_phentsize = sizeof(h.p[0]);
	h.e.e_phnum = 2;
	h.p[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
		               .p_flags = PF_R | PF_W,
		               .p_offset = sizeof(h),
		               .p_vaddr = GOIMAGE_BASE,
		               .p_filesz = size,
		               .p_memsz = size };
	h.p[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
		               .p_offset = sizeof(h) + size,
		               .p_vaddr = 0x7fff00000000,
		               .p_filesz = 8,
		               .p_memsz = 8 };
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 || write(fd, &h, sizeof(h)) != (ssize_t)sizeof(h) ||
	    write(fd, bytes, size) != (ssize_t)size)
		return -1;
	return image_open_core(path, &o, ret, err);
}

/* As go_module_open() finds it. */
static inline void goimage_read_module(struct image *i, const struct go_layout *l,
                                       struct go_module *ret)
{
	const uint32_t at[] = { l->moduledata_text,        l->moduledata_etext,
		                l->moduledata_funcnametab, l->moduledata_pctab,
		                l->moduledata_pclntable,   l->moduledata_ftab,
		                l->moduledata_ftab + 8 };
	uint64_t *const to[] = { &ret->text,      &ret->etext, &ret->func_names, &ret->pc_table,
		                 &ret->functions, &ret->ftab,  &ret->n_ftab };

	memset(ret, 0, sizeof(*ret));
	ret->image = i;
	ret->layout = l;
	ret->at = GOIMAGE_BASE;
	for (size_t k = 0; k < ARRAY_SIZE(at); k++)
		image_read(i, GOIMAGE_BASE + at[k], to[k], 8);
}
