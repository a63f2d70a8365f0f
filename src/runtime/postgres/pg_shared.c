/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_shared.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "target/reader.h"

enum {
	HEADER_MAGIC = 679834894, /* PGShmemMagic, storage/pg_shmem.h, 10 to 18 */
	MIN_BLOCK = 1024,
	MAX_BLOCK = 32768, /* what configure allows for BLCKSZ */
	MAX_HANDLES = 1 << 20,
	MAX_REFERENCES = 1 << 20,
};
static const uint32_t control_magic = 0x9a503d32; /* PG_DYNSHMEM_CONTROL_MAGIC, dsm.c */

/* storage/pg_shmem.h, struct PGShmemHeader */
struct shmem_header {
	int32_t magic, creator;
	uint64_t total, free_offset;
	uint32_t dsm_control;
};

static bool exported(const struct pg_server *s, const char *name, size_t size, uint64_t *ret)
{
	struct elf_symbol symbol;

	*ret = 0;
	return elf_file_symbol(s->elf, ELF_DYNSYM, name, &symbol) == 0 &&
	       reader_try(s->target, symbol.value + s->bias, ret, size) == 0;
}

/* From the process itself, else from its parent: what that mapped before the fork is at the same
 * address there. The caller knows what it expects to see. */
static int read_shared(const struct pg_server *s, uint64_t at, void *buf, size_t len)
{
	cleanup(target_closep) struct target *parent = NULL;
	struct error unused;

	if (reader_try(s->target, at, buf, len) == 0)
		return 0;
	if (s->target->parent <= 1 || target_open(s->target->parent, &parent, &unused) < 0 ||
	    strcmp(parent->exe, s->target->exe) != 0)
		return -1;
	return reader_try(parent, at, buf, len);
}

static bool find_header(const struct pg_server *s, const struct mapping *m,
                        struct shmem_header *ret)
{
	return read_shared(s, m->start, ret, sizeof(*ret)) == 0 && ret->magic == HEADER_MAGIC &&
	       ret->total >= sizeof(*ret) && ret->total <= m->end - m->start &&
	       ret->free_offset <= ret->total;
}

/*
 * BLCKSZ is a constant of the build. But what comes right behind the buffers in
 * the segment (the locks, from 14 on the condition variables, of their I/O) is
 * exported, too: the distance, per buffer, is a block and next to nothing.
 */
static uint64_t block_bytes(const struct pg_server *s, uint64_t n, uint64_t blocks)
{
	static const char *const behind[] = { "BufferIOCVArray", "BufferIOLWLockArray" };
	uint64_t next, size = 0;

	for (size_t i = 0; i < ARRAY_SIZE(behind); i++) {
		if (!exported(s, behind[i], sizeof(next), &next) || next <= blocks)
			continue;
		for (uint64_t b = MIN_BLOCK; b <= MAX_BLOCK; b *= 2)
			if (b <= (next - blocks) / n && (next - blocks) / n < b + b / 16)
				size = b;
	}
	return size;
}

static void find_buffers(const struct pg_server *s, uint64_t blocks, struct pg_shared *ret)
{
	uint64_t n, block;

	if (!exported(s, "NBuffers", sizeof(int32_t), &n) || !n || n > INT32_MAX)
		return;
	ret->n_buffers = n;
	block = block_bytes(s, n, blocks);
	if (block && n * block <= ret->main->end - blocks)
		ret->buffers_bytes = n * block;
}

static const struct mapping *shared_at(const struct maps *maps, uint64_t addr)
{
	const struct mapping *m = addr ? maps_find(maps, addr) : NULL;

	return m && (m->prot & MAPS_SHARED) ? m : NULL;
}

/* Every process has the buffers' address from the postmaster. */
static void find_main(const struct pg_server *s, const struct maps *maps, struct pg_shared *ret)
{
	struct shmem_header h;
	uint64_t blocks;

	if (!exported(s, "BufferBlocks", sizeof(blocks), &blocks))
		return;
	ret->main = shared_at(maps, blocks);
	if (!ret->main)
		return;
	if (find_header(s, ret->main, &h)) {
		ret->total_bytes = h.total;
		ret->given_bytes = h.free_offset;
	}
	find_buffers(s, blocks, ret);
}

/* A System V segment of one page, unless shared_memory_type is sysv: then it is the main one. Its
 * header alone names the list of dynamic segments. */
static void find_interlock(const struct pg_server *s, const struct maps *maps,
                           struct pg_shared *ret)
{
	const struct mapping *m;
	struct shmem_header h;
	uint64_t at;

	if (!exported(s, "UsedShmemSegAddr", sizeof(at), &at))
		return;
	m = shared_at(maps, at);
	if (!m || m->start != at)
		return;
	if (read_shared(s, at, &h, sizeof(h)) == 0 && h.magic == HEADER_MAGIC)
		ret->dsm_control = h.dsm_control;
	if (m != ret->main)
		ret->interlock = m;
}

bool pg_shared_dsm_handle(const struct mapping *m, uint32_t *ret)
{
	static const char prefix[] = "/dev/shm/PostgreSQL.";
	unsigned long handle;
	char *end;

	if (!(m->prot & MAPS_SHARED) || strncmp(m->name, prefix, sizeof(prefix) - 1) != 0)
		return false;
	handle = strtoul(m->name + sizeof(prefix) - 1, &end, 10);
	if (*end || handle > UINT32_MAX)
		return false;
	*ret = handle;
	return true;
}

bool pg_shared_is_listed(const struct pg_shared *s, uint32_t handle)
{
	for (uint32_t i = 0; i < s->n_listed; i++)
		if (s->listed[i] == handle)
			return true;
	return false;
}

/*
 * dsm.c: magic, nitems, maxitems; from byte 16 on the items, which begin with
 * handle and refcnt (1: going away). Their size changed with 14 (first_page,
 * npages came). Handles are random numbers: one that is found at an item of
 * either size is not there by chance.
 */
static void list_items(const struct pg_server *s, const struct mapping *m, uint32_t n,
                       struct pg_shared *ret)
{
	static const unsigned sizes[] = { 24, 40 };

	for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
		for (uint32_t i = 0; i < n && ret->n_listed < PG_SHARED_MAX_LISTED; i++) {
			const uint64_t at = m->start + 16 + (uint64_t)i * sizes[k];
			uint32_t item[2];

			if (at + sizeof(item) > m->end ||
			    read_shared(s, at, item, sizeof(item)) < 0)
				break;
			if (item[0] && item[1] > 1 && item[1] < MAX_REFERENCES)
				ret->listed[ret->n_listed++] = item[0];
		}
	}
}

static void find_dsm(const struct pg_server *s, const struct maps *maps, struct pg_shared *ret)
{
	uint32_t head[3], handle;

	for (size_t i = 0; i < maps->n_items && !ret->dsm_list; i++) {
		const struct mapping *m = &maps->items[i];

		if (pg_shared_dsm_handle(m, &handle) && ret->dsm_control == handle && handle &&
		    read_shared(s, m->start, head, sizeof(head)) == 0 && head[0] == control_magic &&
		    head[1] <= head[2] && head[2] <= MAX_HANDLES) {
			ret->dsm_list = m;
			list_items(s, m, head[1], ret);
		}
	}
}

void pg_shared_find(const struct pg_server *s, const struct maps *maps, struct pg_shared *ret)
{
	*ret = (struct pg_shared){ 0 };
	find_main(s, maps, ret);
	find_interlock(s, maps, ret);
	find_dsm(s, maps, ret);
}
