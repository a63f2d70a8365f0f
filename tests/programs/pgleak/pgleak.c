/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A PostgreSQL extension (15 and later) that leaks, holds and churns memory of
 * which it keeps the truth: every chunk that it is to be blamed for goes
 * through account() or forget(), by site, in bytes of chunk space.
 *
 *   pgleak_wal(records, chunks)  records of a custom resource manager; at their
 *       redo, in a standby's startup process, each leaks @chunks paths:
 *       psprintf <- get_path <- drop_relation <- replay_truncate <- pgleak_redo
 *   pgleak_query(n)  @n policies leaked into CacheMemoryContext, reached by
 *       eight callers: psprintf <- read_policy <- describe_relation <- scan_0..7
 *   pgleak_hold(n)  keeps chunks of every class of context and every size, after
 *       reallocs in place, moving, growing into blocks of their own
 *   pgleak_churn(n)  the same and more, of which nothing remains
 *   pgleak_fail(n)  allocates, then raises an error: the abort frees it
 *   pgleak_truth()  "SITE COUNT BYTES" a line
 */

#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

enum {
	RECORD_LEAK = 0x00,
	RECORD_TRUTH = 0x10,
	SLAB_CHUNK = 72,
};

enum site { SITE_POLICY, SITE_PATH, SITE_HELD, SITE_GENERATION, SITE_SLAB, SITE_BUMP, N_SITES };

static const char *const site_names[N_SITES] = { "policy",     "path", "held",
	                                         "generation", "slab", "bump" };
static struct {
	long count, bytes;
} truth[N_SITES];

void _PG_init(void);

static void account(enum site site, void *chunk)
{
	truth[site].count++;
	truth[site].bytes += GetMemoryChunkSpace(chunk);
}

static void forget(enum site site, void *chunk)
{
	truth[site].count--;
	truth[site].bytes -= GetMemoryChunkSpace(chunk);
}

PG_FUNCTION_INFO_V1(pgleak_truth);
Datum pgleak_truth(PG_FUNCTION_ARGS)
{
	static char text[1024];
	int used = 0;

	for (int i = 0; i < N_SITES; i++)
		used += snprintf(text + used, sizeof(text) - used, "%s%s %ld %ld", i ? "\n" : "",
		                 site_names[i], truth[i].count, truth[i].bytes);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* ---- a backend that leaks by query ---- */

static pg_noinline char *read_policy(int relation)
{
	MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);
	char *policy = psprintf("policy of relation %d: %0*d", relation, 10 + relation % 90,
	                        relation);

	MemoryContextSwitchTo(old);
	account(SITE_POLICY, policy);
	return policy;
}

static pg_noinline int describe_relation(int relation)
{
	char *scratch = palloc(100 + relation % 300);
	int r;

	scratch[0] = (char)relation;
	r = read_policy(relation)[0] + scratch[0];
	pfree(scratch);
	return r;
}

#define SCAN(n)                                                                                    \
	static pg_noinline int scan_##n(int relation)                                              \
	{                                                                                          \
		return describe_relation(relation) + n;                                            \
	}
SCAN(0)
SCAN(1)
SCAN(2)
SCAN(3)
SCAN(4)
SCAN(5)
SCAN(6)
SCAN(7)

PG_FUNCTION_INFO_V1(pgleak_query);
Datum pgleak_query(PG_FUNCTION_ARGS)
{
	static int (*const scans[])(int) = { scan_0, scan_1, scan_2, scan_3,
		                             scan_4, scan_5, scan_6, scan_7 };
	int n = PG_GETARG_INT32(0), sum = 0;

	for (int i = 0; i < n; i++)
		sum += scans[i % lengthof(scans)](i);
	PG_RETURN_INT32(sum);
}

/* ---- what is held, of every class ---- */

static MemoryContext held, held_child, held_generation, held_slab, held_bump;

static void make_contexts(void)
{
	if (held)
		return;
	held = AllocSetContextCreate(TopMemoryContext, "pgleak held", ALLOCSET_DEFAULT_SIZES);
	held_child = AllocSetContextCreate(held, "pgleak child", ALLOCSET_SMALL_SIZES);
	held_generation = GenerationContextCreate(held, "pgleak generation",
	                                          ALLOCSET_DEFAULT_SIZES);
	held_slab = SlabContextCreate(held, "pgleak slab", SLAB_DEFAULT_BLOCK_SIZE, SLAB_CHUNK);
#if PG_VERSION_NUM >= 170000
	held_bump = BumpContextCreate(held, "pgleak bump", ALLOCSET_DEFAULT_SIZES);
#endif
}

static pg_noinline void hold_grown(int i)
{
	char *p = MemoryContextAlloc(i % 3 ? held : held_child, 1 + i % 500);

	if (i % 2)
		p = repalloc(p, 600); /* moves */
	if (i % 4 == 1)
		p = repalloc(p, 601 + i % 300); /* mostly in place */
	if (i % 16 == 1)
		p = repalloc(p, 20000 + i); /* into a block of its own */
	if (i % 32 == 1)
		p = repalloc(p, 100000 + i); /* that block grows */
	if (i % 64 == 1)
		p = repalloc(p, 9000); /* and shrinks */
	account(SITE_HELD, p);
	if (i % 5 == 0) {
		forget(SITE_HELD, p);
		pfree(p);
	}
}

static pg_noinline void hold_generation(int i)
{
	char *p = MemoryContextAlloc(held_generation, 1 + i % 1000 + (i % 50 == 0 ? 30000 : 0));

	account(SITE_GENERATION, p);
	if (i % 3 == 0) {
		forget(SITE_GENERATION, p);
		pfree(p);
	}
}

static pg_noinline void hold_slab(int i)
{
	char *p = MemoryContextAlloc(held_slab, SLAB_CHUNK);

	account(SITE_SLAB, p);
	if (i % 3 == 0) {
		forget(SITE_SLAB, p);
		pfree(p);
	}
}

static pg_noinline void hold_bump(int i)
{
	if (!held_bump)
		return;
	/* no header: a chunk cannot be asked for its space */
	MemoryContextAlloc(held_bump, 1 + i % 2000);
	truth[SITE_BUMP].count++;
	truth[SITE_BUMP].bytes += MAXALIGN(1 + i % 2000);
}

PG_FUNCTION_INFO_V1(pgleak_hold);
Datum pgleak_hold(PG_FUNCTION_ARGS)
{
	int n = PG_GETARG_INT32(0);

	make_contexts();
	for (int i = 0; i < n; i++) {
		hold_grown(i);
		hold_generation(i);
		hold_slab(i);
		hold_bump(i);
	}
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(pgleak_reset);
Datum pgleak_reset(PG_FUNCTION_ARGS)
{
	if (held) {
		MemoryContextReset(held); /* and deletes the children */
		MemoryContextDelete(held);
	}
	held = held_child = held_generation = held_slab = held_bump = NULL;
	for (int i = SITE_HELD; i < N_SITES; i++)
		truth[i].count = truth[i].bytes = 0;
	PG_RETURN_VOID();
}

/* ---- of which nothing remains ---- */

static MemoryContext churn_contexts(MemoryContext parent, int depth)
{
	MemoryContext c = parent;

	while (depth--) {
		c = AllocSetContextCreate(c, "pgleak nested", ALLOCSET_SMALL_SIZES);
		(void)MemoryContextAlloc(c, 10000);
	}
	return c;
}

static pg_noinline void churn(MemoryContext top, int n)
{
	MemoryContext generation = GenerationContextCreate(top, "pgleak churn generation",
	                                                   ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < n; i++) {
		MemoryContext deep = churn_contexts(top, i % 5);
		char *p = MemoryContextAlloc(deep, 16 + i % 200);

		p = repalloc(p, 1000);
		p = repalloc(p, 1010);
		p = repalloc(p, 20000);
		p = repalloc(p, 40000);
		(void)MemoryContextAlloc(generation, i % 700);
		if (i % 3 == 0)
			pfree(p);
		if (i % 7 == 6)
			MemoryContextReset(generation);
		if (i % 16 == 15) {
			MemoryContextReset(top);
			generation = GenerationContextCreate(top, "pgleak churn generation",
			                                     ALLOCSET_DEFAULT_SIZES);
		}
	}
}

PG_FUNCTION_INFO_V1(pgleak_churn);
Datum pgleak_churn(PG_FUNCTION_ARGS)
{
	MemoryContext top = AllocSetContextCreate(CurrentMemoryContext, "pgleak churn",
	                                          ALLOCSET_DEFAULT_SIZES);

	churn(top, PG_GETARG_INT32(0));
	MemoryContextDelete(top);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(pgleak_fail);
Datum pgleak_fail(PG_FUNCTION_ARGS)
{
	churn(AllocSetContextCreate(CurrentMemoryContext, "pgleak fail", ALLOCSET_DEFAULT_SIZES),
	      PG_GETARG_INT32(0));
	ereport(ERROR, errmsg("pgleak_fail: as asked"));
}

/* n palloc/pfree pairs: what a probe costs */
PG_FUNCTION_INFO_V1(pgleak_pairs);
Datum pgleak_pairs(PG_FUNCTION_ARGS)
{
	int n = PG_GETARG_INT32(0);

	for (int i = 0; i < n; i++)
		pfree(palloc(16 + (i & 127)));
	PG_RETURN_VOID();
}

/* ---- a standby that leaks at redo ---- */

static pg_noinline char *get_path(uint32 relation)
{
	char *path = psprintf("base/%u/%u_fsm", 16384, 50000000 + relation);

	account(SITE_PATH, path);
	return path;
}

static pg_noinline int drop_relation(uint32 relation)
{
	char *scratch = palloc(64);
	int r = get_path(relation)[0];

	pfree(scratch);
	return r + 1;
}

static pg_noinline int replay_truncate(XLogReaderState *record)
{
	uint32 n;
	int r = 0;

	memcpy(&n, XLogRecGetData(record), sizeof(n));
	for (uint32 i = 0; i < n; i++)
		r += drop_relation(i);
	return r + 1;
}

static void log_truth(void)
{
	ereport(LOG, errmsg("pgleak truth: pid %d path %ld %ld", MyProcPid, truth[SITE_PATH].count,
	                    truth[SITE_PATH].bytes));
}

static void pgleak_redo(XLogReaderState *record)
{
	volatile int sink = 0;

	if ((XLogRecGetInfo(record) & ~XLR_INFO_MASK) == RECORD_LEAK)
		sink += replay_truncate(record);
	else
		log_truth();
	(void)sink;
}

static void pgleak_desc(StringInfo buf, XLogReaderState *record)
{
	appendStringInfoString(buf, "pgleak");
}

static const char *pgleak_identify(uint8 info)
{
	return (info & ~XLR_INFO_MASK) == RECORD_LEAK ? "LEAK" : "TRUTH";
}

static RmgrData rmgr = {
	.rm_name = "pgleak",
	.rm_redo = pgleak_redo,
	.rm_desc = pgleak_desc,
	.rm_identify = pgleak_identify,
};

static void write_record(uint8 info, uint32 n)
{
	XLogBeginInsert();
	XLogRegisterData((char *)&n, sizeof(n));
	XLogFlush(XLogInsert(RM_EXPERIMENTAL_ID, info));
}

PG_FUNCTION_INFO_V1(pgleak_wal);
Datum pgleak_wal(PG_FUNCTION_ARGS)
{
	int n = PG_GETARG_INT32(0);

	for (int i = 0; i < n; i++)
		write_record(RECORD_LEAK, PG_GETARG_INT32(1));
	write_record(RECORD_TRUTH, 0);
	PG_RETURN_VOID();
}

void _PG_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		RegisterCustomRmgr(RM_EXPERIMENTAL_ID, &rmgr);
}
